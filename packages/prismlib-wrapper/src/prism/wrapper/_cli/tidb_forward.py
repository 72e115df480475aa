"""`prism-wrapper tidb-forward`: from TiCDC's storage sink to a wrapper's endpoint."""

from __future__ import annotations

import signal
import types
from pathlib import Path

from prism.wrapper.errors import WrapperConfigurationError
from prism.wrapper.sources.tidb._forward import Forwarder
from prism.wrapper.sources.tidb._storage import StorageFolder

__all__ = ["run_forward"]

_BATCH_BYTES = 1 << 20


def run_forward(
    *,
    folder: Path,
    url: str,
    token_file: Path,
    state: Path | None,
    authority: Path | None,
    every_s: float,
    once: bool,
) -> int:
    """Push until a signal; with `once`, what is there now."""
    try:
        token = token_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WrapperConfigurationError(f"--token-file: {token_file}: {error}") from None
    storage = StorageFolder(
        folder,
        state or folder.with_name(f"{folder.name}.forwarded"),
        batch_bytes=_BATCH_BYTES,
    )
    forwarder = Forwarder(storage, url=url, token=token, authority=authority)

    def stop(_number: int, _frame: types.FrameType | None) -> None:
        forwarder.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        if once:
            forwarder.push_once()
        else:
            forwarder.run(every_s=every_s)
    finally:
        forwarder.close()
    return 0
