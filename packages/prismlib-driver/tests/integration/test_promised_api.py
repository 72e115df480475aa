"""What users were promised, as it was written, against a publisher in another process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from publishing import PublisherProcess, row

WIDTH = 384


@pytest.fixture(scope="module")
def publisher() -> Iterator[PublisherProcess]:
    with PublisherProcess(tenant_id="products-service") as process:
        process.put(
            row("product-1", "Widget", width=WIDTH), row("product-2", "Gadget", width=WIDTH)
        )
        yield process


async def test_the_driver_block(
    publisher: PublisherProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    my_embedding_vector = row("", "Widget", width=WIDTH)["vector"]

    from prism.ffi import DriverConfig, PrismDriver

    config = DriverConfig(
        wrapper_host="127.0.0.1", wrapper_port=publisher.port, tenant_id="products-service"
    )
    async with PrismDriver(config) as driver:
        results = await driver.query(embedding=my_embedding_vector, top_k=5, threshold=0.85)
        for m in results:
            print(f"{m.row_id} score={m.score:.3f} {m.text_repr}")
        ack = await driver.write(
            row_id="product-42", data={"name": "Widget Pro", "price": 29.99, "stock": 150}
        )
        print(f"Written: event_id={ack.event_id}")
        assert driver.get("product-42").columns["price"] == 29.99  # type: ignore[union-attr]

    out = capsys.readouterr().out.splitlines()
    assert out[0] == "product-1 score=1.000 Widget"
    assert out[-1].startswith("Written: event_id=")


async def test_a_host_alone_is_enough(publisher: PublisherProcess) -> None:
    from prism.ffi import DriverConfig, PrismDriver

    assert DriverConfig(wrapper_host="db-proxy-1").wrapper_port == 50051
    config = DriverConfig(wrapper_host="127.0.0.1", wrapper_port=publisher.port)
    async with PrismDriver(config) as driver:
        assert driver.status().tenant_id == "products-service"


async def test_the_publisher_block() -> None:
    from prism.ffi import DriverConfig, PrismDriver

    driver = PrismDriver(DriverConfig(listen_port=0, tenant_id="prod"))
    connecting = asyncio.create_task(driver.connect())
    while driver.port is None:
        await asyncio.sleep(0.01)
    port = driver.port
    event_queue: asyncio.Queue[object] = asyncio.Queue()

    from chorus_fabric import CHORUSPublisher, DriverEndpoint, PublisherConfig, RowChange

    config = PublisherConfig(tenant_id="prod", host=None)

    publisher = CHORUSPublisher(config)
    publisher.add_driver(DriverEndpoint(host="127.0.0.1", port=port, tenant_id="prod"))
    running = asyncio.create_task(publisher.run(event_queue))  # type: ignore[arg-type]
    event_queue.put_nowait(RowChange(table="p", row_id="1", vector=[1.0, 2.0], text="one"))
    await connecting
    while driver.get("1") is None:
        await asyncio.sleep(0.005)
    await driver.close()
    event_queue.put_nowait(None)
    await running
