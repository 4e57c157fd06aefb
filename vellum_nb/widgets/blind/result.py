"""The results of a blind rating as static HTML; only made when it is over."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from html import escape
from typing import Any

from vellum_nb.comparison.blind import BlindResult, BlindSession
from vellum_nb.rendering.format import p_value, percent, visible_name

__all__ = ["result_html"]

_LIMIT = 200
_KINDS = (("wins", "better"), ("ties", "tie"), ("losses", "worse"))


def result_html(session: BlindSession) -> str:
    """Return who won how often, how sure that is, and who stood under which letter."""
    found = session.result()
    return f"{_head(found)}{_bar(found)}{_facts(session, found)}{_cases(session)}"


def _head(found: BlindResult) -> str:
    if not found.wins + found.losses:
        return "<h3>Neither was preferred: there are only ties</h3>"
    rate = found.rate
    ahead, behind = (found.second, found.first)
    share, low, high = rate.mean, rate.low, rate.high
    if share < 0.5:  # noqa: PLR2004  (one half)
        ahead, behind = behind, ahead
        share, low, high = 1 - share, 1 - high, 1 - low
    decided = found.wins + found.losses
    p = found.row()["p"]
    chance = "hardly chance" if p <= 0.05 else "may be chance"  # noqa: PLR2004  (as everywhere)
    if share == 0.5:  # noqa: PLR2004
        title = f"{_name(ahead)} and {_name(behind)} won equally often"
    else:
        title = f"{_name(ahead)} was preferred to {_name(behind)} in {percent(share)}"
        title += " of the decided cases"
    noun = "case" if decided == 1 else "cases"
    return _joined(
        f"<h3>{title}</h3><p>{decided:,} decided {noun}, ties left out · 95 % interval "
        f"{percent(low)} to {percent(high)} · p = {p_value(p)} · {chance}</p>"
    )


def _joined(html: str) -> str:
    """Return it with no line between a figure and its unit."""
    return html.replace(" %", "&nbsp;%")


def _bar(found: BlindResult) -> str:
    counts = {"wins": found.wins, "ties": found.ties + found.same, "losses": found.losses}
    pieces = "".join(
        f'<span class="vnb-blind-{kind}" style="flex-grow:{counts[kind]}"></span>'
        for kind, _ in _KINDS
        if counts[kind]
    )
    words = " · ".join(f"{counts[kind]:,} {_word(word, counts[kind])}" for kind, word in _KINDS)
    return (
        f'<div class="vnb-blind-sum"><b>{_name(found.second)}</b> '
        f'<span class="vnb-blind-bar" aria-hidden="true">{pieces}</span> <span>{words}</span></div>'
    )


def _word(word: str, count: int) -> str:
    return "ties" if word == "tie" and count != 1 else word


def _facts(session: BlindSession, found: BlindResult) -> str:
    decided = found.wins + found.losses
    facts = [
        f"{_name(found.first)} stood under A in {found.a_first:,} of {found.rated:,} rated cases",
        f"A was preferred in {found.preferred_a:,} of {decided:,} decided ones",
    ]
    for number, words in (
        (found.same, "with the same outputs on both: ties, without asking"),
        (found.skipped, "skipped"),
        (found.unrated, "not rated"),
        (session.missing, "without an answer on both"),
    ):
        if number:
            facts.append(f"{number:,} {words}")
    return f'<p class="vnb-blind-quiet">{" · ".join(facts)} · seed {session.record.seed}</p>'


def _cases(session: BlindSession) -> str:
    frame = session.frame()
    rows = [row for row in frame.to_dict("records") if row["choice"] in {"A", "B", "tie", "skip"}]
    if not rows:
        return ""
    numbers = {pair.case_id: pair.number for pair in session.pairs}
    body = "".join(_case(numbers[row["case_id"]], row) for row in rows[:_LIMIT])
    heads = "".join(
        f'<th scope="col">{name}</th>' for name in ("case", "A", "B", "you said", "note")
    )
    more = len(rows) - _LIMIT
    rest = f"<p>{more:,} cases more: blind_results() has them all</p>" if more > 0 else ""
    return (
        f"<details><summary>Which was which, case by case</summary><table><thead><tr>{heads}</tr>"
        f"</thead><tbody>{body}</tbody></table>{rest}</details>"
    )


def _case(number: int, row: Mapping[Hashable, Any]) -> str:
    said = row["choice"]
    if said in {"A", "B"}:
        said = f"{said}: {_name(row['preferred'])}"
    note = row["note"] if isinstance(row["note"], str) else ""
    cells = (_name(row["release_a"]), _name(row["release_b"]), said, escape(note[:500]))
    return f'<tr><th scope="row">{number:,}</th>{"".join(f"<td>{c}</td>" for c in cells)}</tr>'


def _name(name: object) -> str:
    return escape(visible_name(str(name)))
