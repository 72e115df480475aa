"""What a MySQL source is told, and how the answers of a server are judged."""

from __future__ import annotations

import pytest

from prism.wrapper.sources.errors import SourceConfigurationError
from prism.wrapper.sources.mysql import MySQLSettings, ServerFacts, Verdict, findings
from prism.wrapper.sources.mysql._check import may_replicate
from prism.wrapper.sources.mysql._settings import connect_arguments, split_name

SECRET = "hunter2"  # noqa: S105 - stands for one
GOOD = {
    "log_bin": "ON",
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "binlog_row_metadata": "FULL",
    "gtid_mode": "ON",
}


def test_a_dsn_is_taken_apart() -> None:
    found = connect_arguments("mysql://us%40er:p%2Fw@db.example:3307/shop?ssl_ca=/a.pem")
    assert found == {
        "user": "us@er",
        "password": "p/w",
        "host": "db.example",
        "port": 3307,
        "database": "shop",
        "ssl_ca": "/a.pem",
    }


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://me:{SECRET}@host/shop",
        f"mysql://me:{SECRET}@host/",
        f"mysql://me:{SECRET}@host:port/shop",
        f"mysql://me:{SECRET}@host/shop?compress={SECRET}",
        f"mysql://me:{SECRET}@host/shop?{SECRET}",
        f"me:{SECRET}@tcp(host)/shop",
    ],
)
def test_a_wrong_dsn_is_not_repeated(dsn: str) -> None:
    with pytest.raises(SourceConfigurationError, match="dsn") as caught:
        MySQLSettings(dsn=dsn, tables=("a",))
    assert SECRET not in str(caught.value)
    right = MySQLSettings(dsn=f"mysql://me:{SECRET}@host/shop", tables=("a",))
    assert SECRET not in repr(right)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("items", ("shop", "items")),
        ("stock.items", ("stock", "items")),
        ("`a.b`.`c``d`", ("a.b", "c`d")),
        ("`a.b`", ("shop", "a.b")),
    ],
)
def test_names_of_tables(name: str, parts: tuple[str, str]) -> None:
    assert split_name(name, "shop") == parts


@pytest.mark.parametrize("name", ["", "a.b.c", "`a"])
def test_what_names_no_table(name: str) -> None:
    with pytest.raises(SourceConfigurationError):
        split_name(name, "shop")


def test_wrappers_have_server_ids_of_their_own() -> None:
    dsn = "mysql://me@host/shop"
    one, other = (MySQLSettings(dsn=dsn, tables=("a",), name=name) for name in ("one", "other"))
    assert one.replica_id != other.replica_id
    assert MySQLSettings(dsn=dsn, tables=("a",), server_id=7).replica_id == 7


@pytest.mark.parametrize(
    ("grant", "may"),
    [
        ("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO `a`@`%`", True),
        ("GRANT ALL PRIVILEGES ON *.* TO `a`@`%` WITH GRANT OPTION", True),
        ("GRANT ALL PRIVILEGES ON `shop`.* TO `a`@`%`", False),
        ("GRANT REPLICATION SLAVE ADMIN ON *.* TO `a`@`%`", False),
        ("GRANT USAGE ON *.* TO `a`@`%`", False),
    ],
)
def test_who_may_read_the_log(grant: str, may: bool) -> None:
    assert may_replicate((grant,)) is may


@pytest.mark.parametrize(
    ("change", "is_mariadb", "remedy"),
    [
        ({}, True, None),
        ({}, False, None),
        ({"log_bin": "OFF"}, True, "log_bin = binlog"),
        ({"binlog_format": "MIXED"}, True, "SET GLOBAL binlog_format = ROW"),
        ({"binlog_row_metadata": "MINIMAL"}, False, "SET PERSIST binlog_row_metadata = FULL"),
        ({"gtid_mode": "OFF"}, False, "SET PERSIST gtid_mode = ON"),
        ({"gtid_mode": "OFF"}, True, None),
        ({"binlog_transaction_compression": "ON"}, False, "compression = OFF"),
    ],
)
def test_a_setting_that_is_missing_has_a_remedy(
    change: dict[str, str], is_mariadb: bool, remedy: str | None
) -> None:
    facts = ServerFacts(
        version="x",
        is_mariadb=is_mariadb,
        user="a@%",
        grants=("GRANT REPLICATION SLAVE ON *.* TO `a`@`%`",),
        variables={**GOOD, **change},
        tables=(),
    )
    problems = [one for one in findings(facts) if one.verdict is Verdict.PROBLEM]
    if remedy is None:
        assert not problems
    else:
        assert [remedy in one.remedy for one in problems] == [True]
