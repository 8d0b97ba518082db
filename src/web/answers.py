"""Numbers as JSON can hold them."""

from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Arrays as lists and NumPy's numbers as Python's, exactly; NaN and infinity, which JSON has not, as None."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            listed = np.asarray(value, dtype=object)
            listed[~np.isfinite(value)] = None
            return listed.tolist()
        return value.tolist()
    return None if isinstance(value, float) and not np.isfinite(value) else value
