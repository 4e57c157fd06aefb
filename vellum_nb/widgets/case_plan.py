"""The plan of a sweep, and what keeps a file of cases from being one, as safe HTML. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from vellum_nb.errors import InputError, VellumNBError
from vellum_nb.rendering.format import money, visible_name
from vellum_nb.sweep.plan import SweepPlan, TagPlan
from vellum_nb.widgets.icons import ALERT
from vellum_nb.widgets.results import alert_html

__all__ = ["case_plan_html", "problems_html"]

_MOST = 50  # rows of the table of problems
_UNKNOWN = "—"


def case_plan_html(plan: SweepPlan) -> str:
    """Return what is going to be sent, how long that takes and what it costs.

    Examples
    --------
    >>> plan = SweepPlan("d", cases=4, repeats=1, tags=(TagPlan("v1", None, calls=4),))
    >>> "4 cases × 1 release tag = 4 calls; time and cost are not known yet" in case_plan_html(plan)
    True
    """  # noqa: RUF002  # the sign of a product
    unknown = _not_known(plan)
    line = f"{plan.headline}; {unknown}" if unknown else plan.headline
    notes = "".join(f"<li>{escape(visible_name(each))}</li>" for each in plan.notes)
    found, doubtful = plan.found > 0, any(tag.doubtful for tag in plan.tags)
    names = ["calls", "s a call", "$ a call"]
    names[1:1] = ["in the history"] * found + ["to be looked up"] * doubtful
    rows = "".join(_tag_row(tag, found=found, doubtful=doubtful) for tag in plan.tags)
    table = _table("vnb-plan-table", ["release tag", *names], rows)
    return f'<p class="vnb-plan">{escape(line)}</p>{table}{f"<ul>{notes}</ul>" if notes else ""}'


def problems_html(exc: VellumNBError) -> str:
    """Return why there is no plan: a sentence, and a table where rows do not fit."""
    problems = exc.problems if isinstance(exc, InputError) else ()
    if not any(each.row is not None for each in problems):
        return alert_html(exc)
    head = str(exc).partition("\n")[0]
    rows = "".join(
        f"<tr><td>{'' if each.row is None else f'{each.row:,}'}</td>"
        f"<td><code>{_cell(each.variable)}</code></td><td>{_cell(each.message)}</td></tr>"
        for each in problems[:_MOST]
    )
    more = len(problems) - _MOST
    rest = f'<p class="vnb-quiet">… and {more:,} more</p>' if more > 0 else ""
    table = _table("vnb-plan-table vnb-case-problems", ["row", "variable", "problem"], rows)
    alert = f'<div role="alert" class="vnb-alert">{ALERT}<span>{_cell(head)}</span></div>'
    return f"{alert}{table}{rest}"


def _table(css: str, names: Sequence[str], rows: str) -> str:
    heads = "".join(f'<th scope="col">{name}</th>' for name in names)
    return f'<table class="{css}"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'


def _not_known(plan: SweepPlan) -> str:
    if plan.seconds is None:
        return "time and cost are not known yet" if plan.cost_usd is None else "time is not known"
    return "cost is not known" if plan.cost_usd is None else ""


def _tag_row(tag: TagPlan, *, found: bool, doubtful: bool) -> str:
    figures = [f"{tag.calls:,}"]
    figures += [f"{tag.found + tag.reused:,}"] * found + [f"{tag.doubtful:,}"] * doubtful
    figures.append(_UNKNOWN if tag.median_s is None else f"{tag.median_s:.2f}")
    figures.append(_UNKNOWN if tag.cost_usd is None else money(tag.cost_usd)[1:])
    cells = "".join(f"<td>{each}</td>" for each in figures)
    return f'<tr><th scope="row"><code>{_cell(tag.release_tag)}</code></th>{cells}</tr>'


def _cell(text: str) -> str:
    return escape(visible_name(text))
