"""A JSON value as a tree that folds, in plain HTML without script."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape

from vellum_nb.experiments.wording import json_text

__all__ = ["json_html"]

_SHORT = 80  # characters that fit in one line
_DEPTH = 12
_ITEMS = 200  # of one list or object; a page of thousands helps nobody
_NODES = 2_000


def json_html(value: object) -> str:
    """Return `value` as one line when it is short, else as a tree of ``details`` elements.

    Examples
    --------
    >>> json_html({"ok": True})
    '<code class="vnb-json">{&quot;ok&quot;: true}</code>'
    """
    html = _Tree().node(value, 0)
    return f'<div class="vnb-tree">{html}</div>' if html.startswith("<details") else html


class _Tree:
    """Writes one tree and counts its nodes."""

    def __init__(self) -> None:
        self._nodes = 0

    def node(self, value: object, depth: int, label: str = "") -> str:
        """Return `value` with its label in front, as one line or as a fold."""
        self._nodes += 1
        text = _line(value)
        is_fold = isinstance(value, Mapping | list) and bool(value)
        if not is_fold or len(text) <= _SHORT:
            return f'{label}<code class="vnb-json">{escape(text)}</code>'
        if depth >= _DEPTH:
            return f'{label}<pre class="vnb-text">{escape(json_text(value))}</pre>'
        return self._fold(value, depth, label)

    def _fold(self, value: object, depth: int, label: str) -> str:
        size = len(value) if isinstance(value, Mapping | list) else 0
        noun = "key" if isinstance(value, Mapping) else "item"
        summary = f"{label}{size} {noun}{'' if size == 1 else 's'}"
        items = "".join(f"<li>{item}</li>" for item in self._items(value, depth, size))
        is_open = " open" if depth == 0 else ""
        return f"<details{is_open}><summary>{summary}</summary><ul>{items}</ul></details>"

    def _items(self, value: object, depth: int, size: int) -> Iterator[str]:
        pairs = value.items() if isinstance(value, Mapping) else enumerate(_as_list(value))
        for shown, (key, item) in enumerate(pairs):
            if shown == _ITEMS or self._nodes > _NODES:
                yield f"… {size - shown} more"
                return
            label = f'<span class="vnb-key">{escape(str(key))}</span>: '
            yield self.node(item, depth + 1, label)


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _line(value: object) -> str:
    """Return `value` as JSON in one line, in its own order; a wrong value in Python's words."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return "(cannot be shown)" if isinstance(value, Mapping | list) else str(value)
