"""What is said where an export has no run: which name was likely mistyped."""

from __future__ import annotations

import warnings
from typing import Any

from vellum_nb.history.reading.query import Filters
from vellum_nb.history.reading.source import Source

__all__ = ["warn_of_unknown"]

_NAMES = ("deployment", "release_tag", "author")
_SHOWN = 20


def warn_of_unknown(source: Source, filters: Filters, title: str) -> None:
    """Warn where no run is exported because none has a name that `filters` choose by."""
    given: dict[str, Any] = {name: filters.get(name) for name in _NAMES}
    if not any(given.values()) or not source.is_empty():
        return
    for name, value in given.items():
        known = source.names(name) if value else []
        wanted = [value] if isinstance(value, str) else [*(value or ())]
        if wanted and set(known).isdisjoint(wanted):
            more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
            there_are = f"; there are: {', '.join(known[:_SHOWN])}{more}" if known else ""
            msg = f"{title} has no run: none has {name}={value!r}{there_are}"
            warnings.warn(msg, UserWarning, stacklevel=2)
