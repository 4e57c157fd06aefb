"""Large libraries, imported on first use: importing them takes longer than most calls."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

__all__ = ["Bools", "Floats", "Ints", "NDArray", "jsonschema", "np", "optimize", "pd", "special"]

_IRI_GRAMMAR = "rfc3987_syntax"


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
        if self._name == "jsonschema":
            load_jsonschema()
        value = getattr(import_module(self._name), name)
        vars(self)[name] = value
        return value


def load_jsonschema() -> None:
    """Import jsonschema without the grammar of IRIs; to be called before what imports jsonschema.

    The grammar, which is installed with JupyterLab, takes more than a second to build. It is
    imported when the first IRI is checked.
    """
    if {_IRI_GRAMMAR, "jsonschema"} & sys.modules.keys() or find_spec(_IRI_GRAMMAR) is None:
        return
    grammar: Any = ModuleType(_IRI_GRAMMAR)
    grammar.is_valid_syntax = _is_valid_syntax
    sys.modules[_IRI_GRAMMAR] = grammar
    try:
        import_module("jsonschema")
    finally:
        sys.modules.pop(_IRI_GRAMMAR, None)


def _is_valid_syntax(term: str, value: str) -> bool:
    return bool(import_module(_IRI_GRAMMAR).is_valid_syntax(term, value))


if TYPE_CHECKING:
    import jsonschema
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from scipy import optimize, special

    Floats: TypeAlias = NDArray[np.float64]
    Ints: TypeAlias = NDArray[np.intp]
    Bools: TypeAlias = NDArray[np.bool_]
else:
    np, pd, jsonschema = map(LazyModule, ("numpy", "pandas", "jsonschema"))
    optimize, special = LazyModule("scipy.optimize"), LazyModule("scipy.special")
    NDArray = Floats = Ints = Bools = Any  # only in annotations
