"""Export…: a comparison into a file, by the comparison's own methods."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from vellum_nb.errors import HistoryError, VellumNBError
from vellum_nb.experiments import Comparison
from vellum_nb.history.store.replacing import replacing
from vellum_nb.widgets.base import export_target

__all__ = ["FORMATS", "export", "export_result", "formats"]

FORMATS = {
    "csv": ("to_csv", ".csv", "CSV"),
    "html": ("to_html", ".html", "HTML"),
    "markdown": ("to_markdown", ".md", "Markdown"),
    "parquet": ("to_parquet", ".parquet", "Parquet"),
}


def formats(comparison: Comparison) -> list[dict[str, str]]:
    """Return what `comparison` can be written as."""
    return [
        {"name": name, "suffix": suffix, "label": label}
        for name, (method, suffix, label) in FORMATS.items()
        if hasattr(comparison, method)
    ]


def export(comparison: Comparison, kind: object, path: object, folder: Path | None) -> Path:
    """Write `comparison` as one of `FORMATS`; return the file.

    Raises
    ------
    HistoryError
        There is no such format, `path` is no name, or there is such a file already.
    """
    known = {each["name"] for each in formats(comparison)}
    if not isinstance(kind, str) or kind not in known:
        msg = f"a comparison is written as {', '.join(sorted(known))}, not as {kind!r:.60}"
        raise HistoryError(msg)
    method_name, suffix, _ = FORMATS[kind]
    target = export_target(path, suffix, folder)
    method = getattr(comparison, method_name)
    if "path" in inspect.signature(method).parameters:
        method(target)
    else:
        with replacing(target) as file:
            file.write(method())
    return target


def export_result(
    comparison: Comparison, kind: object, path: object, folder: Path | None
) -> dict[str, Any]:
    """Write it, and return what the page is told: where it is, or what went wrong."""
    try:
        written = export(comparison, kind, path, folder)
    except (OSError, ImportError, VellumNBError) as exc:
        return {"error": str(exc)}
    return {"path": str(written), "count": len(comparison.cases)}
