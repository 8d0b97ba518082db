"""What a benchmark ran on: processor, BLAS kernel and versions."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from threadpoolctl import threadpool_info


def versions() -> dict[str, str]:
    """Python's version, and those of the libraries that are compared."""
    found = {"python": platform.python_version()}
    for name in ("numpy", "torch", "jax", "scikit-learn", "keras"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def cpu() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def kernel() -> str:
    """The code path that NumPy's BLAS has chosen for this processor."""
    return ", ".join(sorted({part["architecture"] for part in threadpool_info() if part["user_api"] == "blas"}))
