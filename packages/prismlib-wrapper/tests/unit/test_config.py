"""What may stand in the file, and what is said about what may not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tomli_w

from prism.wrapper._config import (
    ChorusSettings,
    DatabaseSettings,
    LogSettings,
    TableSettings,
    VectorSettings,
    WrapperConfig,
    WriteSettings,
    load_config,
    parse_config,
)
from prism.wrapper.errors import WrapperConfigurationError

PROMISED = """
[database]
flavor = "postgresql"          # postgresql | mysql | cockroachdb | tidb
dsn = "postgresql://user:pass@localhost/mydb"

[chorus]
listen_port = 50051
tenant_id = "products-service"
"""
DATABASE = '[database]\nflavor = "postgresql"\ndsn = "host=x"\n'
CHORUS = '[chorus]\ntenant_id = "t"\n'
LEAST = DATABASE + CHORUS


def test_the_promised_file_is_enough() -> None:
    config = parse_config(PROMISED, environment={})
    assert config.chorus.listen_port == 50051
    assert config.chorus.listen_host == "127.0.0.1"
    assert config.tables == ()
    assert config.slot == config.publication == "prism_products_service"


def test_every_setting_can_be_set() -> None:
    written = {
        "database": {
            "flavor": "postgresql",
            "dsn": "host=x",
            "schemas": ["a", "b"],
            "slot": "s",
            "publication": "p",
            "plugin": "wal2json",
        },
        "chorus": {
            "tenant_id": "t",
            "listen_host": "0.0.0.0",  # noqa: S104 - only parsed
            "listen_port": 1,
            "node_id": "n",
            "secret_file": "/s",
            "certificate": "/c",
            "key": "/k",
            "authority": "/a",
            "heartbeat_s": 2,
            "drivers": ["h:1"],
        },
        "tables": [
            {
                "name": "products",
                "columns": ["id", "name"],
                "text": "{name}",
                "numeric": {"price": [0, 10]},
                "embed": False,
            },
            {"name": "b", "text_columns": ["x"]},
        ],
        "vectors": {
            "embedder": "openai",
            "model": "m",
            "wire": "projected",
            "batch": 64,
            "text_chars": 100,
        },
        "log": {"path": "/l", "kept_deletions": 5},
        "write": {"tables": ["products"], "timeout_s": 1.5},
    }
    config = parse_config(tomli_w.dumps(written), environment={})
    kinds = {
        DatabaseSettings: (
            config.database,
            DatabaseSettings(flavor="mysql", dsn=config.database.dsn),
        ),
        ChorusSettings: (config.chorus, ChorusSettings(tenant_id="")),
        VectorSettings: (config.vectors, VectorSettings()),
        LogSettings: (config.log, LogSettings()),
        WriteSettings: (config.write, WriteSettings()),
        TableSettings: (config.tables[0], TableSettings(name="")),
    }
    for kind, (given, default) in kinds.items():
        for field in dataclasses.fields(kind):
            if field.name not in ("dsn", "text_columns"):
                assert getattr(given, field.name) != getattr(default, field.name), field.name
    assert config.tables[1].text_columns == ("x",)
    assert config.log_path == Path("/l")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "[database] needs flavor"),
        ("[", "is not TOML"),
        (DATABASE + "[chorus]\n", "[chorus] needs tenant_id"),
        (DATABASE + '[chorus]\ntenant_id = ""', "tenant_id must not be empty"),
        (LEAST + "listen_prot = 1", "[chorus] has no key listen_prot; did you mean listen_port?"),
        (LEAST + "[vectros]\n", "unknown section [vectros]; did you mean vectors?"),
        (LEAST + "zzz = 1", "[chorus] has no key zzz; known are listen_host"),
        (LEAST + "listen_port = true", "listen_port must be a whole number, not true or false"),
        (LEAST + 'listen_port = "80"', "listen_port must be a whole number, not a text"),
        (LEAST + "listen_port = 70000", "listen_port must be from 0 to 65535, not 70000"),
        (LEAST + "heartbeat_s = 0", "heartbeat_s must be from 0.05 to 60"),
        (LEAST + 'drivers = "h:1"', "drivers must be a list"),
        (LEAST + 'certificate = "c"', "certificate alone is no TLS"),
        (
            '[database]\nflavor = "postgres"\ndsn = "x"\n' + CHORUS,
            "flavor must be one of postgresql, mysql, cockroachdb, tidb; did you mean postgresql?",
        ),
        ('[database]\nflavor = "postgresql"\n' + CHORUS, "needs one of dsn, dsn_env"),
        (
            '[database]\nflavor = "postgresql"\ndsn = "a"\ndsn_env = "B"\n' + CHORUS,
            "not dsn and dsn_env",
        ),
        (
            '[database]\nflavor = "postgresql"\ndsn_env = "UNSET"\n' + CHORUS,
            "the environment variable UNSET is not set",
        ),
        (
            '[database]\nflavor = "postgresql"\ndsn_file = "/no/such"\n' + CHORUS,
            "/no/such cannot be read: No such file",
        ),
        ('[database]\nflavor = "postgresql"\ndsn = " "\n' + CHORUS, "the DSN is empty"),
        (LEAST + '[tables]\nname = "a"', "must be written [[tables]]"),
        (LEAST + "[[tables]]\nembed = true", "[[tables]] number 1 needs name"),
        (LEAST + '[[tables]]\nname = "a"\n[[tables]]\nname = "a"', "[[tables]] a stands twice"),
        (LEAST + '[[tables]]\nname = "a"\ntext = "{a.b}"', "write {column} with a column's name"),
        (LEAST + '[[tables]]\nname = "a"\ntext = "{"', "write {{ and }} for braces"),
        (
            LEAST + '[[tables]]\nname = "a"\ntext = "{a}"\ntext_columns = ["a"]',
            "exclude each other",
        ),
        (
            LEAST + '[[tables]]\nname = "a"\nnumeric = { price = [5, 1] }',
            "price needs its lowest and its highest value",
        ),
        (LEAST + '[vectors]\nmodel = "x"', "model belongs to"),
        (LEAST + '[vectors]\nembedder = "openai"', "needs model"),
        (LEAST + '[vectors]\nembedder = "minilm2"', "did you mean minilm?"),
        (LEAST + '[log]\npath = ""', "path must name a file"),
    ],
)
def test_mistakes_are_explained(text: str, said: str) -> None:
    with pytest.raises(WrapperConfigurationError) as refused:
        parse_config(text, name="w.toml", environment={})
    assert said in str(refused.value)
    assert all(line.startswith("w.toml: ") for line in str(refused.value).splitlines())


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(WrapperConfigurationError) as refused:
        parse_config("[chorus]\nlisten_port = -1\nfoo = 1\n", environment={})
    assert len(str(refused.value).splitlines()) >= 4


def test_the_environment_comes_before_the_file() -> None:
    config = parse_config(
        LEAST + "listen_port = 1",
        environment={
            "PRISM_WRAPPER__CHORUS__LISTEN_PORT": "2",
            "PRISM_WRAPPER__DATABASE__DSN": "host=elsewhere",
            "PRISM_WRAPPER__WRITE__TABLES": '["a"]',
            "PRISM_WRAPPER__CHORUS__NODE_ID": "node-1",
        },
    )
    assert config.chorus.listen_port == 2
    assert config.chorus.node_id == "node-1"
    assert config.database.dsn.reveal() == "host=elsewhere"
    assert config.write.tables == ("a",)
    with pytest.raises(WrapperConfigurationError, match="listn_port"):
        parse_config(LEAST, environment={"PRISM_WRAPPER__CHORUS__LISTN_PORT": "2"})


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "dsn"
    file.write_text("postgresql://u:hush@h/d\n")
    text = f'[database]\nflavor = "postgresql"\ndsn_file = "{file}"\n' + CHORUS
    config = parse_config(text, environment={})
    assert config.database.dsn.reveal() == "postgresql://u:hush@h/d"
    assert "hush" not in f"{config!r} {config} {config.database.dsn!s} {config.database.dsn!r}"
    # A secret in the wrong place is not repeated either.
    for broken in (
        '[database]\nflavor = "hush"\ndsn = ["hush"]\n',
        'dsn = "hush"\n',
        '[database]\nlisten_port = "hush"',
    ):
        with pytest.raises(WrapperConfigurationError) as refused:
            parse_config(broken, environment={"PRISM_WRAPPER__CHORUS__LISTEN_PORT": "hush"})
        assert "hush" not in str(refused.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(WrapperConfigurationError, match="no such file"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(WrapperConfigurationError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "latin").write_bytes(b"\xff")
    with pytest.raises(WrapperConfigurationError, match="not UTF-8"):
        load_config(tmp_path / "latin")


def test_the_log_has_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse_config(LEAST.replace('"t"', '"a/b ü"'), environment={})
    assert isinstance(config, WrapperConfig)
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/prism")
    assert config.log_path == Path("/var/lib/prism/a_b__.changes")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("XDG_STATE_HOME", "/home/x/state")
    assert config.log_path == Path("/home/x/state/prism/a_b__.changes")
    assert config.slot == "prism_a_b__"
