"""What users write; checked by mypy, not run."""

from __future__ import annotations

import numpy as np

from prism.ffi import ChangeNotice, DriverConfig, PrismDriver, PrismDriverSync, Row


async def main() -> None:
    config = DriverConfig(
        wrapper_host="10.0.1.50", wrapper_port=50051, tenant_id="products-service"
    )
    async with PrismDriver(config) as driver:
        results = await driver.query(embedding=np.ones(384), top_k=5, threshold=0.85)
        for m in results:
            print(f"{m.row_id} score={m.score:.3f} {m.text_repr} {m.columns['price']}")
        ack = await driver.write(row_id="product-42", data={"name": "Widget Pro", "price": 29.99})
        print(f"Written: event_id={ack.event_id}")
        row: Row | None = driver.get("product-42")
        if row is not None:
            print(row.columns["name"])

        async def changed(notice: ChangeNotice) -> None:
            print(notice.upserted)

        stop = driver.on_change(changed)
        stop()


def blocking() -> None:
    with PrismDriverSync(DriverConfig(wrapper_host="db-proxy-1")) as driver:
        print(driver.query(text="a widget")[0].score, driver.status().lag_s)
