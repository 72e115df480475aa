"""What a figure depends on and a reader cannot know: the machine, the versions, the load."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from contestant import optional

PACKAGES = ("prismresonance", "numpy", "numba", "faiss-cpu", "hnswlib", "usearch", "wordllama")
_UNITS = {"K": 1 << 10, "M": 1 << 20}


def facts(packages: Sequence[str] = PACKAGES) -> dict[str, object]:
    """Describe the machine, without its name, and the versions of these packages."""
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu": _cpu_model(),
        "cores": cores(),
        "caches_bytes": caches(),
        "memory_bytes": memory_bytes(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
    }


def cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def caches() -> dict[str, int]:
    """Give the first core's data caches, in bytes; none where the system does not say."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (
            (folder / name).read_text().strip() for name in ("level", "type", "size")
        )
        if kind != "Instruction":
            found[f"L{level}"] = int(size[:-1]) * _UNITS[size[-1]]
    return found


def memory_bytes() -> int | None:
    """Give the machine's memory; `None` without psutil."""
    psutil = optional("psutil")
    return None if psutil is None else int(psutil.virtual_memory().total)


def available_bytes() -> int | None:
    """Give the memory that is left; `None` without psutil."""
    psutil = optional("psutil")
    return None if psutil is None else int(psutil.virtual_memory().available)


def resident_bytes() -> int | None:
    """Give this process's resident memory; `None` without psutil."""
    psutil = optional("psutil")
    return None if psutil is None else int(psutil.Process().memory_info().rss)


def load() -> float | None:
    """Give the load of the last minute; `None` where the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, None)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
