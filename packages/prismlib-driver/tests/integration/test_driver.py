"""A driver beside a real publisher in another process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from certificates import Authority
from publishing import PublisherProcess, gone, row, until

from chorus_fabric import (
    Caller,
    CHORUSPublisher,
    MemoryLog,
    PublisherConfig,
    QueryAnswer,
    QueryCall,
    QueryRow,
    RowChange,
)
from prism.ffi import (
    CallRefusedError,
    ChangeNotice,
    DriverClosedError,
    DriverConfig,
    DriverConfigurationError,
    ModelMismatchError,
    NotSeenInTimeError,
    PrismDriver,
    PrismDriverSync,
    StaleReplicaError,
    UnknownTableError,
    WrapperUnavailableError,
)
from prismresonance import Between, PrismProjector

DRIVER_PROGRAM = Path(__file__).parent.parent / "support" / "driver_program.py"
SECRET = "sixteen bytes and a few more"  # noqa: S105  of these tests


def config(port: int, **more: object) -> DriverConfig:
    return DriverConfig(wrapper_host="127.0.0.1", wrapper_port=port, **more)  # type: ignore[arg-type]


def has(driver: PrismDriverSync, answer: dict[str, int]) -> bool:
    status = driver.status()
    return (status.epoch, status.seq) == (answer["epoch"], answer["head"])


def vector_of(text: str, width: int = 4) -> list[float]:
    vector: list[float] = row("", text, width=width)["vector"]
    return vector


def drawn(name: str, width: int) -> list[float]:
    rng = random.Random(name)
    return [rng.gauss(0, 1) for _ in range(width)]


def rows_of(width: int, count: int, table: str = "products") -> list[dict[str, object]]:
    return [
        {
            "table": table,
            "row_id": str(n),
            "vector": drawn(f"{table} {n}", width),
            "text": f"row {n}",
            "columns": {"n": n, "kind": "even" if n % 2 == 0 else "odd"},
        }
        for n in range(count)
    ]


def test_rows_are_read_by_id_and_found_by_meaning() -> None:
    with PublisherProcess() as publisher:
        publisher.put(*rows_of(384, 300))
        with PrismDriverSync(config(publisher.port, indexed_columns={"products": ["kind"]})) as d:
            found = d.query(embedding=drawn("products 7", 384), top_k=3)
            assert (found[0].row_id, found[0].text_repr, found[0].table) == (
                "7", "row 7", "products",
            )  # fmt: skip
            assert found[0].score > 0.999
            assert found[0].columns == {"n": 7, "kind": "odd"}
            assert d.get("7") is found[0].row
            assert d.get("none") is None
            assert d.get("7", table="products") is d.get("7", "products")
            even = d.query(drawn("products 7", 384), top_k=300, where={"kind": "even"})
            assert {int(m.row_id) % 2 for m in even} == {0}
            assert len(even) == 150
            few = d.query(drawn("products 7", 384), where={"n": Between(high=4)})
            assert {m.row_id for m in few} == set("01234")
            assert d.query(drawn("products 7", 384), threshold=0.9) == found[:1]
            status = d.status()
            assert (status.rows, status.tables) == (300, {"products": 300})
            assert status.is_connected
            assert status.is_ready
            assert status.lag_rows == 0
            assert status.lag_s is not None
            assert status.lag_s < 30


def test_queries_of_64_dimensions_are_answered_in_projected_space() -> None:
    projector = PrismProjector(tenant_id="t")
    with PublisherProcess() as publisher:
        publisher.put(*rows_of(384, 300))
        with PrismDriverSync(config(publisher.port)) as driver:
            rows = np.array([drawn(f"products {n}", 384) for n in range(300)])
            query = np.array(drawn("a query", 384))
            expected = projector.project(rows) @ projector.project(query)
            found = driver.query(embedding=projector.project(query), top_k=10)
            assert [int(m.row_id) for m in found] == np.argsort(-expected)[:10].tolist()
            np.testing.assert_allclose(
                [m.score for m in found], np.sort(expected)[::-1][:10], atol=1e-3
            )
            # The second index follows changes.
            answer = publisher.put(gone(found[0].row_id))
            publisher_row = {**rows_of(384, 1)[0], "row_id": "new", "vector": query.tolist()}
            answer = publisher.put(publisher_row)
            until(lambda: has(driver, answer))
            again = driver.query(embedding=projector.project(query), top_k=10)
            assert again[0].row_id == "new"
            assert found[0].row_id not in {m.row_id for m in again}


def test_a_projected_wire_takes_queries_of_both_widths() -> None:
    projector = PrismProjector(tenant_id="t")
    with PublisherProcess(wire="projected", dim=384) as publisher:
        rows = rows_of(384, 100)
        for one in rows:
            one["vector"] = projector.project(one["vector"]).tolist()  # type: ignore[arg-type]
        publisher.put(*rows)
        with PrismDriverSync(config(publisher.port)) as driver:
            full = drawn("products 7", 384)
            by_full = driver.query(embedding=full, top_k=3)
            by_64 = driver.query(embedding=projector.project(full), top_k=3)
            assert by_full[0].row_id == by_64[0].row_id == "7"
            assert [m.row_id for m in by_full] == [m.row_id for m in by_64]
            with pytest.raises(DriverConfigurationError, match="384"):
                driver.query(embedding=[1.0] * 383)


def test_wrong_questions_are_refused_with_the_remedy() -> None:
    with PublisherProcess() as publisher:
        publisher.put(row("1", "a", table="s.one"), row("1", "b", table="s.two"), row("2", "c"))
        with PrismDriverSync(config(publisher.port)) as driver:
            with pytest.raises(DriverConfigurationError, match=r"3 components.*have 4"):
                driver.query(embedding=[1.0] * 3, table="one")
            with pytest.raises(DriverConfigurationError, match="not both"):
                driver.query()
            with pytest.raises(DriverConfigurationError, match="finite"):
                driver.query(embedding=[float("nan")] * 4)
            with pytest.raises(DriverConfigurationError, match="zero"):
                driver.query(embedding=[0.0] * 4, table="one")
            with pytest.raises(DriverConfigurationError, match="threshold"):
                driver.query(embedding=[1.0] * 4, threshold=2.0)
            with pytest.raises(UnknownTableError, match=r"there are: products, s\.one, s\.two"):
                driver.get("1", table="three")
            with pytest.raises(UnknownTableError, match=r"s\.one, s\.two"):
                driver.get("1")
            with pytest.raises(ModelMismatchError, match="does not say"):
                driver.query(text="widget")
            assert driver.get("2") is not None
            assert len(driver.query(embedding=vector_of("a"))) == 3
        with pytest.raises(DriverClosedError):
            driver.get("2")
        with pytest.raises(DriverClosedError):
            PrismDriverSync(config(publisher.port)).status()


def test_texts_are_embedded_by_the_rows_model_and_by_no_other() -> None:
    from prismresonance.embed import StaticEmbedder

    embedder = StaticEmbedder(dim=64)
    texts = ["a red bicycle", "tax return form", "fresh bread"]
    with PublisherProcess(model_id=embedder.model_id, dim=64) as publisher:
        publisher.put(
            *(
                {"table": "p", "row_id": t, "vector": v.tolist(), "text": t}
                for t, v in zip(texts, embedder.embed(texts), strict=True)
            )
        )
        with PrismDriverSync(config(publisher.port)) as driver:
            assert driver.query(text="bike", top_k=1)[0].row_id == "a red bicycle"
            assert driver.status().model_id == embedder.model_id
        other = StaticEmbedder(dim=128)
        with pytest.raises(ModelMismatchError, match="wordllama-l2-supercat-128"):
            PrismDriverSync(config(publisher.port, embedder=other)).connect()


def test_texts_are_embedded_by_minilm_where_the_wrapper_announces_it() -> None:
    from prismresonance.embed import MiniLMEmbedder, StaticEmbedder

    embedder = MiniLMEmbedder()
    texts = ["a red bicycle", "tax return form", "fresh bread"]
    with PublisherProcess(model_id=embedder.model_id, dim=384) as publisher:
        publisher.put(
            *(
                {"table": "p", "row_id": t, "vector": v.tolist(), "text": t}
                for t, v in zip(texts, embedder.embed(texts), strict=True)
            )
        )
        with PrismDriverSync(config(publisher.port)) as driver:
            assert driver.status().model_id == "minilm-l6-int8"
            assert driver.query(text="something to ride", top_k=1)[0].row_id == "a red bicycle"
            [exact] = driver.query(text="fresh bread", threshold=0.99)
            assert exact.row_id == "fresh bread"
        with PrismDriverSync(config(publisher.port, embedder=embedder)) as driver:
            assert driver.query(text="bakery", top_k=1)[0].row_id == "fresh bread"
        other = StaticEmbedder(dim=256)
        with pytest.raises(ModelMismatchError, match="minilm-l6-int8"):
            PrismDriverSync(config(publisher.port, embedder=other)).connect()


def test_a_write_is_read_at_once() -> None:
    with PublisherProcess(secret=SECRET) as publisher:
        publisher.put(row("0", "zero"))
        with PrismDriverSync(config(publisher.port, secret=SECRET)) as driver:
            for number in range(50):
                ack = driver.write(row_id="42", data={"name": f"v{number}"})
                found = driver.get("42")
                assert ack.is_seen
                assert found is not None
                assert found.columns["name"] == f"v{number}"
                driver.wait_for(ack.event_id)
            ack = driver.write(row_id="43", data={"name": "later"}, wait=False)
            assert not ack.is_seen
            with pytest.raises(CallRefusedError, match="the database is away") as caught:
                driver.write(row_id="44", data={"fail": True})
            assert caught.value.reason == "not_ready"
            epoch = driver.status().epoch
            with pytest.raises(NotSeenInTimeError):
                driver.wait_for(f"{epoch}-999999", timeout_s=0.05)
            with pytest.raises(DriverConfigurationError, match="data"):
                driver.write(row_id="45", data={"x": object()})
            os.kill(publisher.pid, signal.SIGSTOP)
            os.waitpid(publisher.pid, os.WUNTRACED)  # it may be answering until it is stopped
            with pytest.raises(WrapperUnavailableError) as unavailable:
                driver.write(row_id="46", data={"name": "?"}, timeout_s=0.2)
            assert unavailable.value.may_be_done
            os.kill(publisher.pid, signal.SIGCONT)


def test_reads_go_on_while_the_wrapper_is_away_and_the_replica_catches_up() -> None:
    with PublisherProcess() as publisher:
        publisher.put(row("1", "one"))
        with PrismDriverSync(config(publisher.port)) as driver:
            publisher.kill()
            until(lambda: not driver.status().is_connected)
            assert driver.get("1") is not None
            assert driver.query(embedding=vector_of("one"))[0].row_id == "1"
            with pytest.raises(WrapperUnavailableError):
                driver.write(row_id="2", data={})
            with publisher.again() as second:
                answer = second.put(row("2", "two"))
                until(lambda: has(driver, answer))
                assert driver.get("1") is None
                assert driver.get("2") is not None
                status = driver.status()
                assert (status.reconnects, status.is_connected) == (1, True)
                assert status.last_error


def test_a_reset_is_built_beside_the_replica_that_answers() -> None:
    with PublisherProcess(batch_bytes=2000) as publisher:
        answer = publisher.put(*rows_of(16, 2_000))
        with PrismDriverSync(config(publisher.port)) as driver:
            until(lambda: has(driver, answer))
            missed, stop = [], threading.Event()

            def read() -> None:
                rng = random.Random(1)
                while not stop.is_set():
                    name = str(rng.randrange(2_000))
                    if driver.get(name) is None:
                        missed.append(name)
                    if len(driver.query(drawn("q", 16), top_k=5)) != 5:
                        missed.append("query")

            readers = [threading.Thread(target=read) for _ in range(2)]
            for reader in readers:
                reader.start()
            for _ in range(3):
                answer = publisher.tell(renew=True)
                until(lambda answer=answer: has(driver, answer))
                until(lambda: driver.status().lag_rows == 0)  # of the new epoch, not the old
            stop.set()
            for reader in readers:
                reader.join()
            assert not missed


def test_readers_see_whole_rows_while_writers_write() -> None:
    with PublisherProcess() as publisher:
        publisher.put(row("0", "v0"))
        with PrismDriverSync(config(publisher.port)) as driver:
            torn, stop = [], threading.Event()

            def read() -> None:
                while not stop.is_set():
                    for match in driver.query(embedding=vector_of("v"), top_k=50):
                        if match.columns["t"] != match.text_repr:
                            torn.append(match)
                        if match.score < -1 or match.row.row_id != match.row_id:
                            torn.append(match)

            readers = [threading.Thread(target=read) for _ in range(3)]
            for reader in readers:
                reader.start()
            answer = {}
            for turn in range(60):
                changes = [row(str(n), f"v{turn}" * (n + 1)) for n in range(40)]
                answer = publisher.put(*changes, gone(str(turn % 40)))
            until(lambda: has(driver, answer))
            stop.set()
            for reader in readers:
                reader.join()
            assert not torn


def test_a_stale_replica_says_so() -> None:
    with PublisherProcess() as publisher:
        publisher.put(row("1", "one"))
        with PrismDriverSync(config(publisher.port, max_lag_s=2.5)) as driver:
            assert driver.get("1") is not None
            os.kill(publisher.pid, signal.SIGSTOP)

            def is_stale() -> bool:
                try:
                    driver.get("1")
                except StaleReplicaError:
                    return True
                return False

            until(is_stale)
            with pytest.raises(StaleReplicaError) as caught:
                driver.get("1")
            assert caught.value.lag_s is not None
            assert caught.value.lag_s > caught.value.max_lag_s == 2.5
            with pytest.raises(StaleReplicaError, match=r"max_lag_s is 2\.5"):
                driver.query(embedding=vector_of("one"))
            os.kill(publisher.pid, signal.SIGCONT)
            until(lambda: not is_stale())
            assert driver.query(embedding=vector_of("one"))


class AgedLog(MemoryLog):
    """A log whose database has been away for a while."""

    age_s: float | None = None

    def source_age_s(self) -> float | None:
        return self.age_s


class Answers:
    def query(self, call: QueryCall, caller: Caller) -> QueryAnswer:
        assert call.where == {"kind": ["a", "b"]}
        found = QueryRow(
            table="p", row_id="far", score=0.5, text="from the wrapper", columns=b'{"n": 1}'
        )
        return QueryAnswer(rows=[found], epoch=1, seq=9)


async def test_a_stale_replica_asks_the_wrapper_if_it_is_told_to() -> None:
    log = AgedLog(epoch=1)
    log.age_s = 100.0
    log.append([RowChange(table="p", row_id="near", vector=[1.0, 2.0], columns={"kind": "a"})])
    settings = PublisherConfig(port=0, tenant_id="t", heartbeat_s=0.05)
    async with CHORUSPublisher(settings, log=log, queries=Answers()) as publisher:
        assert publisher.port is not None
        where = {"kind": ["a", "b"]}
        options = config(publisher.port, max_lag_s=30.0, on_stale="query")
        async with PrismDriver(options) as driver:
            assert (driver.status().lag_s or 0.0) >= 100.0
            found = await driver.query(embedding=[1.0, 2.0], where=where)
            assert (found[0].row_id, found[0].columns) == ("far", {"n": 1})
            with pytest.raises(StaleReplicaError):
                driver.get("near")
            log.age_s = 0.0
            while (driver.status().lag_s or 0.0) >= 100.0:
                await asyncio.sleep(0.005)
            found = await driver.query(embedding=[1.0, 2.0], where=where)
            assert found[0].row_id == "near"


async def test_a_wrapper_that_is_not_whole_itself_is_waited_for() -> None:
    log = AgedLog(epoch=1)  # its first snapshot is being read: it cannot say how old it is
    settings = PublisherConfig(port=0, tenant_id="t", heartbeat_s=0.05)
    async with CHORUSPublisher(settings, log=log) as publisher:
        assert publisher.port is not None
        driver = PrismDriver(config(publisher.port))
        connecting = asyncio.create_task(driver.connect())
        log.append([RowChange(table="p", row_id="first", vector=[1.0, 2.0])])

        def has_begun() -> bool:
            with contextlib.suppress(DriverClosedError):
                return driver.status().rows > 0
            return False

        while not has_begun():
            await asyncio.sleep(0.005)
        assert not driver.status().is_ready
        assert not connecting.done()
        log.append([RowChange(table="p", row_id="last", vector=[1.0, 2.0])])
        log.age_s = 0.0
        await connecting
        assert driver.get("last") is not None
        await driver.close()


def test_first_contact_fails_with_host_port_and_remedy() -> None:
    with pytest.raises(WrapperUnavailableError, match=r"127\.0\.0\.1:1 .*prism-wrapper"):
        PrismDriverSync(config(1)).connect()
    with PublisherProcess(secret=SECRET) as publisher:
        with pytest.raises(DriverConfigurationError, match="secret"):
            PrismDriverSync(config(publisher.port)).connect()
        with pytest.raises(DriverConfigurationError, match="tenant 't' is served here"):
            PrismDriverSync(config(publisher.port, tenant_id="u", secret=SECRET)).connect()


async def test_a_first_contact_that_fails_leaves_nothing_running() -> None:
    before = threading.active_count()
    for _ in range(3):
        with pytest.raises(WrapperUnavailableError):
            async with PrismDriver(config(1)):
                pass
    while threading.active_count() > before + 2:  # the loop's own pool may keep some
        await asyncio.sleep(0.01)


def test_mutual_tls_and_a_secret(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    served = authority.node("t", "wrapper-1")
    files = {name: str(getattr(served, name)) for name in ("certificate", "key", "authority")}
    with PublisherProcess(tls=files, secret=SECRET) as publisher:
        publisher.put(row("1", "one"))
        own = authority.node("t", "app-1")
        with PrismDriverSync(config(publisher.port, tls=own, secret=SECRET)) as driver:
            assert driver.get("1") is not None
            assert driver.status().is_sealed
            assert driver.write(row_id="2", data={"name": "two"}).is_seen
        other = authority.node("other", "app-1")
        with pytest.raises((WrapperUnavailableError, DriverConfigurationError)):
            PrismDriverSync(
                config(publisher.port, tls=other, secret=SECRET, tenant_id="t")
            ).connect()


def test_a_running_driver_takes_new_certificates_from_their_files(tmp_path: Path) -> None:
    old = Authority(tmp_path)
    served = old.node("t", "wrapper-1", folder="wrapper")
    own = old.node("t", "app-1", folder="app")
    files = {name: str(getattr(served, name)) for name in ("certificate", "key", "authority")}
    with PublisherProcess(tls=files) as publisher:
        publisher.put(row("1", "one"))
        with PrismDriverSync(config(publisher.port, tls=own)) as driver:
            assert driver.get("1") is not None
            publisher.kill()
            new = Authority(tmp_path)  # trusts no certificate of the old one
            new.node("t", "wrapper-1", folder="wrapper")
            with publisher.again() as second:
                answer = second.put(row("2", "two"))
                # With the old files the driver does not get in.
                until(lambda: driver.status().last_error)
                assert driver.get("2") is None
                new.node("t", "app-1", folder="app")
                until(lambda: has(driver, answer))
                assert driver.get("2") is not None
                assert driver.status().is_connected
                assert driver.write(row_id="3", data={"name": "three"}).is_seen


def test_a_snapshot_starts_a_driver_warm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "replica"
    with PublisherProcess() as publisher:
        publisher.put(*rows_of(384, 500))
        with PrismDriverSync(config(publisher.port, snapshot_path=path)) as driver:
            assert driver.status().rows == 500
        answer = publisher.put(gone("3"), row("new", "n", width=384))
        with PrismDriverSync(config(publisher.port, snapshot_path=path)) as driver:
            until(lambda: has(driver, answer))
            assert driver.get("3") is None
            assert driver.get("new") is not None
            status = driver.status()
            assert (status.rows, status.is_building) == (500, False)
            epoch = status.epoch
        publisher.kill()
        # Without a wrapper, the snapshot answers; how old it is nobody knows.
        with caplog.at_level(logging.WARNING, "prism.ffi"):
            with PrismDriverSync(config(publisher.port, snapshot_path=path)) as driver:
                assert driver.get("7") is not None
                assert driver.query(drawn("products 7", 384), top_k=1)[0].row_id == "7"
                assert driver.status().lag_s is None
                assert not driver.status().is_connected
            assert "from the snapshot alone" in caplog.text
        with publisher.again() as second:  # another log: what was there is replaced
            answer = second.put(row("1", "only", width=384))
            with PrismDriverSync(config(second.port, snapshot_path=path)) as driver:
                until(lambda: has(driver, answer))
                assert driver.status().rows == 1
                assert driver.status().epoch > epoch


def test_a_torn_snapshot_is_a_cold_start_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "replica"
    with PublisherProcess() as publisher:
        answer = publisher.put(*rows_of(16, 50))
        with PrismDriverSync(config(publisher.port, snapshot_path=path)):
            pass
        content = path.read_bytes()
        for damaged in (content[:-5], b"", content[:100], os.urandom(200)):
            path.write_bytes(damaged)
            caplog.clear()
            with (
                caplog.at_level(logging.WARNING, "prism.ffi"),
                PrismDriverSync(config(publisher.port, snapshot_path=path)) as driver,
            ):
                until(lambda driver=driver: has(driver, answer))
                assert driver.status().rows == 50
            assert "starting without the snapshot" in caplog.text
        path.write_bytes(content)
        with PrismDriverSync(config(publisher.port, snapshot_path=path)) as driver:
            assert driver.status().rows == 50


def test_a_killed_driver_comes_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "replica"
    rng = random.Random(5)
    with PublisherProcess() as publisher:
        publisher.put(*rows_of(32, 500))
        expected = {str(n) for n in range(500)}
        for turn in range(6):
            process = subprocess.Popen(
                [sys.executable, str(DRIVER_PROGRAM), str(publisher.port), str(path)],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            process.stdout.readline()
            end = time.monotonic() + rng.uniform(0.0, 0.4)
            number = 0
            while time.monotonic() < end:
                number += 1
                name = f"{turn}.{number}"
                publisher.put({**rows_of(32, 1)[0], "row_id": name}, gone(str(turn * 50 + number)))
                expected.add(name)
                expected.discard(str(turn * 50 + number))
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
            answer = publisher.tell(status=True)
            with PrismDriverSync(config(publisher.port, snapshot_path=path)) as driver:
                until(lambda driver=driver, answer=answer: has(driver, answer))
                table = driver._engine.feed.shown.table("products")
                assert set(table.rows) == expected


def test_changes_are_told_and_already_seen() -> None:
    with PublisherProcess() as publisher:
        publisher.put(row("1", "one"))
        with PrismDriverSync(config(publisher.port)) as driver:
            seen: list[ChangeNotice] = []
            read: list[object] = []

            def changed(notice: ChangeNotice) -> None:
                read.extend(driver.get(row_id) for row_id in notice.upserted)
                seen.append(notice)

            def fails(notice: ChangeNotice) -> None:
                raise ValueError("a user's mistake")

            driver.on_change(fails)
            stop = driver.on_change(changed)
            publisher.put(row("2", "two"))
            until(lambda: seen)
            publisher.put(gone("1"))
            until(lambda: len(seen) == 2)
            publisher.tell(renew=True)
            until(lambda: len(seen) == 3)
            assert [(n.table, n.upserted, n.deleted, n.is_reset) for n in seen] == [
                ("products", ("2",), (), False),
                ("products", (), ("1",), False),
                ("", (), (), True),
            ]
            assert None not in read
            stop()
            answer = publisher.put(row("3", "three"))
            until(lambda: has(driver, answer))
            assert len(seen) == 3


async def test_awaiting_does_not_hold_up_the_loop() -> None:
    with PublisherProcess() as publisher:
        publisher.put(*rows_of(384, 200))
        async with PrismDriver(config(publisher.port)) as driver:
            ack = await driver.write(row_id="w", data={"name": "w"})
            await driver.wait_for(ack.event_id)
            assert driver.get("w") is not None
            os.kill(publisher.pid, signal.SIGSTOP)
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await asyncio.sleep(0.01)
                    ticks += 1

            ticking = asyncio.create_task(tick())
            with pytest.raises(WrapperUnavailableError):
                await driver.write(row_id="w", data={}, timeout_s=0.5)
            ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticking
            assert ticks > 10
            os.kill(publisher.pid, signal.SIGCONT)


def test_a_replica_not_whole_in_time_is_an_error() -> None:
    with PublisherProcess() as publisher:
        os.kill(publisher.pid, signal.SIGSTOP)
        with pytest.raises(WrapperUnavailableError):
            PrismDriverSync(config(publisher.port, connect_timeout_s=0.3)).connect()
        os.kill(publisher.pid, signal.SIGCONT)
    driver = PrismDriverSync(DriverConfig(listen_port=0, tenant_id="t", ready_timeout_s=0.2))
    with pytest.raises(WrapperUnavailableError, match="raise ready_timeout_s"):
        driver.connect()


def test_reading_a_row_costs_a_look_up() -> None:
    with PublisherProcess() as publisher:
        publisher.put(*rows_of(8, 1_000))
        with PrismDriverSync(config(publisher.port)) as driver:
            get, plain = driver.get, {str(n): n for n in range(1_000)}.get
            best, limit = float("inf"), float("inf")
            for _ in range(20):
                start = time.perf_counter()
                for _ in range(2_000):
                    get("500")
                best = min(best, time.perf_counter() - start)
                start = time.perf_counter()
                for _ in range(2_000):
                    plain("500")
                limit = min(limit, time.perf_counter() - start)
            # A ratio within one run: a few calls and comparisons around one look-up.
            assert best / limit < 30
