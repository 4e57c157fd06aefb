"""NumPy, pandas and SciPy, imported on first use: importing them takes longer than most calls."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

__all__ = ["Bools", "Floats", "Ints", "NDArray", "np", "optimize", "pd", "special"]


class LazyModule:
    """Stand-in for a module, which is imported when an attribute is first read.

    >>> json = LazyModule("json")
    >>> json.dumps([1])
    '[1]'
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name == "_name":  # of a copy, which is made without __init__
            raise AttributeError(name)
        value = getattr(import_module(self._name), name)
        vars(self)[name] = value
        return value


if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from scipy import optimize, special

    Floats: TypeAlias = NDArray[np.float64]
    Ints: TypeAlias = NDArray[np.intp]
    Bools: TypeAlias = NDArray[np.bool_]
else:
    np, pd = LazyModule("numpy"), LazyModule("pandas")
    optimize, special = LazyModule("scipy.optimize"), LazyModule("scipy.special")
    NDArray = Floats = Ints = Bools = Any  # only in annotations
