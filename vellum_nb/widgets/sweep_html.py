"""A sweep where no widget can live: static HTML without times, the same in every run."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from vellum_nb.models.sweeps import SweepRecord
from vellum_nb.rendering.format import plural, visible_name
from vellum_nb.sweep.progress import TagProgress
from vellum_nb.sweep.sweep import Sweep
from vellum_nb.widgets.sweep_told import plan_text, tag_note

__all__ = ["plan_html", "sweep_html"]

_COLUMNS = ("release tag", "done", "failed", "running", "to go")


def plan_html(record: SweepRecord) -> str:
    """Return what is to be run: what stands in a stored notebook for a view that was live."""
    tags = ", ".join(f"<code>{_name(tag)}</code>" for tag in record.release_tags)
    return (
        f"<p><b>Sweep</b> of {_name(record.deployment)} on {tags}: "
        f"{plan_text(record)}, {plural(record.planned, 'run')}</p>"
    )


def sweep_html(sweep: Sweep, same: Mapping[str, tuple[str, ...]]) -> str:
    """Return how far a sweep is, as a table."""
    record, now = sweep.record, sweep.progress()
    why = f" ({escape(now.reason)})" if now.reason else ""
    head = "".join(
        f'<th scope="col" style="text-align: {"right" if at else "left"};">{name}</th>'
        for at, name in enumerate(_COLUMNS)
    )
    rows = "".join(_row(record, tag, same) for tag in now.tags)
    return (
        f"<p><b>Sweep</b> of {_name(record.deployment)}: {plan_text(record)}, "
        f"{now.state}{why}, {now.ended:,} of {plural(now.planned, 'run')}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _row(record: SweepRecord, tag: TagProgress, same: Mapping[str, tuple[str, ...]]) -> str:
    note = escape(tag_note(record, tag.release_tag, same))
    figures = "".join(
        f'<td style="text-align: right;">{count:,}</td>'
        for count in (tag.done, tag.failed, tag.running, tag.to_go)
    )
    name = f"<code>{_name(tag.release_tag)}</code>"
    return f'<tr><th scope="row" style="text-align: left;">{name} {note}</th>{figures}</tr>'


def _name(name: str) -> str:
    return escape(visible_name(name))
