"""Whatever is done to the log, whoever follows it ends with its rows; and rules that are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from changelog_machine import LogMachine
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from prism.wrapper._changelog import log as log_module
from prism.wrapper._changelog import writing
from prism.wrapper._changelog.entries import LogBatch

TestLogModel = LogMachine.TestCase
TestLogModel.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def without_tombstones(patch: pytest.MonkeyPatch) -> None:
    original = writing.append_batch

    def append(connection: Any, epoch: int, batch: LogBatch, **rest: Any) -> Any:
        told = original(connection, epoch, batch, **rest)
        connection.execute(f"DELETE FROM {writing.rows_table(epoch)} WHERE gone")
        return told

    patch.setattr(writing, "append_batch", append)


def without_clears(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(log_module, "clears_between", lambda *_, **__: [])


def without_floor(patch: pytest.MonkeyPatch) -> None:
    original = writing.compact

    def compact(connection: Any, epoch: int, *, kept: int) -> None:
        original(connection, epoch, kept=kept)
        connection.execute("UPDATE epochs SET floor = 0 WHERE epoch = ?", (epoch,))

    patch.setattr(writing, "compact", compact)


def with_numbers_reused(patch: pytest.MonkeyPatch) -> None:
    original = writing.append_batch

    def append(connection: Any, epoch: int, batch: LogBatch, *, head: int, now_ns: int) -> Any:
        head, gone = original(connection, epoch, batch, head=head, now_ns=now_ns)
        connection.execute("UPDATE epochs SET head = max(0, head - 1) WHERE epoch = ?", (epoch,))
        return head, gone

    patch.setattr(writing, "append_batch", append)


def copying_what_changed(patch: pytest.MonkeyPatch) -> None:
    original = writing.copy_rows

    class Believing:
        """Says of every row that it is still as it was read."""

        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def execute(self, statement: str, *rest: Any) -> Any:
            if statement.startswith("SELECT 1 FROM rows_"):
                return self._connection.execute("SELECT 1")
            return self._connection.execute(statement, *rest)

        def executemany(self, *rest: Any) -> Any:
            return self._connection.executemany(*rest)

    patch.setattr(
        writing, "copy_rows", lambda connection, **rest: original(Believing(connection), **rest)
    )


def serving_unfinished(patch: pytest.MonkeyPatch) -> None:
    original = log_module.ChangeLog.begin_snapshot

    def begin(self: Any, **names: str) -> int:
        epoch = original(self, **names)
        self._change(lambda connection: connection.execute("UPDATE meta SET current = ?", (epoch,)))
        return epoch

    patch.setattr(log_module.ChangeLog, "begin_snapshot", begin)


def keeping_the_position(patch: pytest.MonkeyPatch) -> None:
    original = log_module.ChangeLog.begin_snapshot

    def begin(self: Any, **names: str) -> int:
        before = self.state.position
        epoch = original(self, **names)
        self._change(
            lambda connection: connection.execute("UPDATE meta SET position = ?", (before,))
        )
        return epoch

    patch.setattr(log_module.ChangeLog, "begin_snapshot", begin)


def forgetting_columns_of_bytes(patch: pytest.MonkeyPatch) -> None:
    original = writing.append_batch

    def append(connection: Any, epoch: int, batch: LogBatch, **rest: Any) -> Any:
        rows = {
            key: row and replace(row, text=row.text.replace("ö", "o"))
            for key, row in batch.rows.items()
        }
        return original(connection, epoch, replace(batch, rows=rows), **rest)

    patch.setattr(writing, "append_batch", append)


@pytest.mark.parametrize(
    "break_rule",
    [
        without_tombstones,
        without_clears,
        without_floor,
        with_numbers_reused,
        copying_what_changed,
        serving_unfinished,
        keeping_the_position,
        forgetting_columns_of_bytes,
    ],
)
def test_a_log_without_one_of_its_rules_is_found_out(
    break_rule: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_rule(monkeypatch)
    few = settings(
        max_examples=150,
        stateful_step_count=30,
        deadline=None,
        database=None,
        derandomize=True,
        print_blob=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises(BaseException) as found:  # noqa: PT011 - several may fail at once
        run_state_machine_as_test(LogMachine, settings=few)
    assert not isinstance(found.value, (KeyboardInterrupt, SystemExit))
