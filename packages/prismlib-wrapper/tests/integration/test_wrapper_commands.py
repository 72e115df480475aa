"""The commands as people and scripts call them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from postgres_databases import Database
from wrapper_runs import DEADLINE_S, Wrapper

SECRET = "hush-hush-4711"  # noqa: S105 - it is looked for


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "prism.wrapper", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )


def test_help_teaches() -> None:
    told = run("--help")
    assert told.returncode == 0
    for word in ("tenant_id", "check", "status", "slots", "demo", "exit codes"):
        assert word in told.stdout


def configuration(folder: Path, dsn: str, more: str = "") -> str:
    file = folder / "w.toml"
    file.write_text(
        f'[database]\nflavor = "postgresql"\ndsn = "{dsn}"\n[chorus]\ntenant_id = "t"\n'
        f'listen_port = 0\n{more}\n[log]\npath = "{folder}/t.changes"\n'
    )
    return str(file)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("listen_prot = 1", "did you mean listen_port?"),
        ('listen_host = "0.0.0.0"', "secret"),
        ('secret_file = "/no/such/file"', "/no/such/file"),
        ('certificate = "/no/c"\nkey = "/no/k"\nauthority = "/no/a"', "/no/"),
    ],
)
def test_a_bad_configuration_is_one_clear_line(tmp_path: Path, more: str, said: str) -> None:
    told = run("--config", configuration(tmp_path, f"host=127.0.0.1 password={SECRET}", more))
    assert told.returncode == 2, told.stderr
    lines = told.stderr.strip().splitlines()
    assert lines[-1].startswith("prism-wrapper: ")
    assert said in told.stderr
    assert "Traceback" not in told.stderr
    assert SECRET not in told.stderr + told.stdout


def test_wrong_ways_into_the_database(shop: Database, tmp_path: Path) -> None:
    role = f"reader_{shop.name}"
    shop.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")
    try:
        server = shop.server
        for dsn, said in (
            (server.tcp_dsn(user=role, password=SECRET + "x"), "password"),
            (server.tcp_dsn(user=role, password=SECRET, database="none"), "none"),
            (server.tcp_dsn(user=role, password=SECRET, database=shop.name), "REPLICATION"),
            (f"postgresql://{role}:{SECRET}@127.0.0.1:{server.port}/{shop.name}", "REPLICATION"),
            (f"nonsense {SECRET}", "libpq cannot read it"),
        ):
            told = run("--config", configuration(tmp_path, dsn))
            assert told.returncode == 2, told.stderr
            assert said in told.stderr
            assert "Traceback" not in told.stderr
            assert SECRET not in told.stderr + told.stdout
        checked = run(
            "check",
            "--json",
            "--config",
            configuration(tmp_path, server.tcp_dsn(user=role, password=SECRET, database=shop.name)),
        )
        assert checked.returncode == 1
        found = json.loads(checked.stdout)
        statements = "\n".join(finding["sql"] for finding in found["findings"])
        assert f'ALTER ROLE "{role}" REPLICATION;' in statements
        assert SECRET not in checked.stdout + checked.stderr
    finally:
        shop.execute(f"DROP ROLE {role}")


def test_what_check_asks_for_is_enough(shop: Database, tmp_path: Path) -> None:
    """The statements are run by the owner as they are printed; then nothing is missing."""
    role = f"reader_{shop.name}"
    shop.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")
    dsn = shop.server.tcp_dsn(user=role, password=SECRET, database=shop.name)
    config = configuration(tmp_path, dsn, '[[tables]]\nname = "products"')
    try:
        for _ in range(3):
            found = json.loads(run("check", "--json", "--config", config).stdout)
            if found["ok"]:
                break
            for finding in found["findings"]:
                if finding["verdict"] == "missing":
                    assert finding["sql"], finding
                    for statement in finding["sql"].split(";\n"):
                        shop.alone(statement)
        assert found["ok"], found
        plain = run("check", "--config", config)
        assert plain.returncode == 0
        assert "wal_level" in plain.stdout
    finally:
        shop.execute(
            "DROP PUBLICATION IF EXISTS prism_t", f"DROP OWNED BY {role}", f"DROP ROLE {role}"
        )


def test_status_and_slots(shop: Database, wrapper: Wrapper) -> None:
    assert "no wrapper runs" in wrapper.command("status").stderr
    with wrapper:
        wrapper.wait(lambda told: told["state"] == "streaming")
        told = wrapper.command("status", "--json")
        assert told.returncode == 0
        status = json.loads(told.stdout)
        assert status["source"]["connected"]
        assert status["port"] == wrapper.port
        assert "streaming" in wrapper.command("status").stdout
        slots = json.loads(wrapper.command("slots", "--json").stdout)
        (ours,) = [slot for slot in slots if slot["ours"]]
        assert ours["name"] == shop.slot
        assert ours["active_pid"]
        refused = wrapper.command("slots", "--drop", shop.slot, "--yes")
        assert refused.returncode != 0
        assert "stop the wrapper" in refused.stderr
        assert "--yes" in wrapper.command("slots", "--drop", shop.slot).stderr
        # One log has one writer.
        second = wrapper.command()
        assert second.returncode == 2
        assert "another prism-wrapper" in second.stderr
    wrapper.kill()
    assert "ended without saying so" in wrapper.command("status").stderr


def test_demo() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "prism.wrapper", "demo", "--port", "0", "--rows", "50"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if "snapshot is complete" in line:
            process.send_signal(signal.SIGTERM)
            break
    said += process.stderr.read()
    process.stderr.close()
    assert process.wait(DEADLINE_S) == 0, said
    assert "PrismDriver" in said
