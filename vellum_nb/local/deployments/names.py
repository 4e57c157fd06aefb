"""The names that a piece of source needs from elsewhere."""

from __future__ import annotations

import builtins
import symtable
from collections.abc import Iterator

__all__ = ["missing_names"]

_ALWAYS = frozenset({*dir(builtins), "__name__", "__file__", "__doc__", "__annotations__"})


def missing_names(source: str) -> list[str]:
    r"""Return the names that a module of this text uses, but neither defines nor imports.

    Examples
    --------
    >>> missing_names("import json\ndef f(x): return json.dumps(x, indent=WIDTH)")
    ['WIDTH']
    """
    module = symtable.symtable(source, "<cell>", "exec")
    tables = list(_tables(module))
    defined = {s.get_name() for s in module.get_symbols() if s.is_assigned() or s.is_imported()}
    for table in tables:
        defined |= {
            s.get_name() for s in table.get_symbols() if s.is_declared_global() and s.is_assigned()
        }
    used = {
        s.get_name()
        for table in tables
        for s in table.get_symbols()
        if s.is_referenced() and s.is_global()
    }
    return sorted(used - defined - _ALWAYS)


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)
