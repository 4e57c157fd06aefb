"""The history as a static table: what GitHub, nbconvert and mail show."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from vellum_nb.models import Run

__all__ = ["history_html"]

_HEADS = ("execution_id", "release_tag", "timestamp", "deployment", "state", "latency_s")


def history_html(title: str, runs: Sequence[Run]) -> str:
    """Return `runs` as an HTML table under `title`; everything is escaped."""
    if not runs:
        return f"<p>{escape(title)}</p>"
    head = "".join(f"<th>{name}</th>" for name in _HEADS)
    body = "".join(f"<tr>{_cells(run)}</tr>" for run in runs)
    return (
        f"<table><caption>{escape(title)}; the newest {len(runs)}:</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _cells(run: Run) -> str:
    texts = (
        run.execution_id or "",
        run.release_tag,
        f"{run.timestamp:%Y-%m-%d %H:%M:%S}",
        run.deployment,
        run.state,
        "" if run.latency_s is None else f"{run.latency_s:.3f}",
    )
    return "".join(f"<td>{escape(text)}</td>" for text in texts)
