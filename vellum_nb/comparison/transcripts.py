"""`Transcript`: the turns of a conversation on several releases, for the grid and for reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

from vellum_nb.comparison.cases import Case, is_answer, same_answer
from vellum_nb.comparison.conversations import checks, said
from vellum_nb.models import Run
from vellum_nb.models.checks import cut
from vellum_nb.models.sweeps import NOT_SENT
from vellum_nb.rendering.answer import AnswerCell, check_html
from vellum_nb.rendering.diff import Side
from vellum_nb.rendering.format import is_prose, plain_text, visible_name
from vellum_nb.rendering.html import MAX_TEXT, render, value_html

_MAX_TURNS = 200
_MAX_GAP_CHARS = 300
_MAX_CHARS = 300_000  # of all answers: comparing more takes longer than a second


@dataclass(frozen=True, slots=True)
class TurnAnswer:
    """What one release got and answered in a turn; `run` is None if it has none."""

    release: str
    run: Run | None
    message: str
    outputs: Mapping[str, AnswerCell]
    checks: Mapping[str, bool]  # whether each expected output was met
    is_same: bool  # as the answer of the baseline

    @property
    def gap(self) -> str:
        """Why the turn was not sent; empty if it was."""
        if self.run is None:
            return "not run"
        error = self.run.error
        return error.message if error and error.code == NOT_SENT else ""

    @property
    def problem(self) -> AnswerCell | None:
        """The error or state of an answer that is not FULFILLED."""
        return AnswerCell.of_problem(self.run)


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation: the message, and the answers, that of the baseline first."""

    number: int
    expected: Mapping[str, Any]
    answers: Sequence[TurnAnswer]
    first_changed: Sequence[str] = ()  # releases that differ from here on

    @property
    def message(self) -> str | None:
        """What the user said on all releases; None if that differs."""
        messages = {answer.message for answer in self.answers if answer.run is not None}
        return messages.pop() if len(messages) == 1 else None


@dataclass(frozen=True, slots=True)
class Transcript:
    """The turns of a conversation, side by side."""

    releases: Sequence[str]  # baseline first
    turns: Sequence[Turn]
    planned: int  # number of turns of the script

    @classmethod
    def of(cls, case: Case, releases: Sequence[str], repeats: Mapping[str, int]) -> Transcript:
        """Return the conversation of `case` on `releases`, baseline first.

        `repeats` selects another repeat than the one that represents a release, by its index.
        """
        by_release = {name: case.turns_on(name, repeats.get(name)) for name in releases}
        return cls.side_by_side(by_release, case.expected_at, case.turns)

    @classmethod
    def side_by_side(
        cls,
        by_release: Mapping[str, Mapping[int, Run]],
        expected_at: Callable[[int], Mapping[str, Any]],
        planned: int,
        *,
        is_marked: bool = True,
    ) -> Transcript:
        """Return the runs of each release by turn; `is_marked` compares with the first release."""
        releases = list(by_release)
        numbers = sorted({number for runs in by_release.values() for number in runs})
        turns: list[Turn] = []
        seen: set[str] = set()
        for number in numbers:
            runs = {name: by_number.get(number) for name, by_number in by_release.items()}
            before = {name: by_number.get(number - 1) for name, by_number in by_release.items()}
            expected = expected_at(number)
            answers = _answers(runs, before, expected, is_marked=is_marked)
            changed = [a.release for a in answers[1:] if _differs(a, answers[0])]
            new = [name for name in changed if name not in seen]
            turns.append(Turn(number, expected, answers, new))
            seen.update(new)
        return cls(releases, turns, planned)

    @property
    def runs(self) -> dict[int, dict[str, Run]]:
        """The runs by turn and release."""
        return {
            turn.number: {a.release: a.run for a in turn.answers if a.run is not None}
            for turn in self.turns
        }

    @property
    def first_changed(self) -> dict[str, int]:
        """The first turn whose answer differs from the baseline's, by release."""
        return {name: turn.number for turn in self.turns for name in turn.first_changed}


def _answers(
    runs: Mapping[str, Run | None],
    before: Mapping[str, Run | None],
    expected: Mapping[str, Any],
    *,
    is_marked: bool,
) -> list[TurnAnswer]:
    baseline = next(iter(runs))
    base, answers = runs[baseline], []
    for release, run in runs.items():
        against = base if is_answer(base) and release != baseline else None
        marked = against if is_marked else None
        outputs = dict(run.outputs) if run else {}
        names = [*outputs, *(marked.outputs if marked and outputs else ())]
        cells = {name: AnswerCell.of(name, run, marked) for name in names if run is not None}
        met = checks(outputs, expected) if is_answer(run) else {}
        is_same = run is not None and against is not None and same_answer(against, run)
        message = "" if run is None else said(run, before[release])
        answers.append(TurnAnswer(release, run, message, cells, met, is_same))
    return answers


def _differs(answer: TurnAnswer, base: TurnAnswer) -> bool:
    return is_answer(answer.run) and is_answer(base.run) and not answer.is_same


def transcript_html(
    transcript: Transcript,
    icon: Callable[[str], str],
    *,
    compared: str = "",
    inline: bool = False,
    complete: bool = False,
    max_chars: int = _MAX_CHARS,
) -> str:
    """Return a conversation as HTML: one row per turn, one column per release.

    `icon` draws an icon by name. The baseline marks the words that `compared`, or the only
    candidate, has lost; `inline` shows removed and new words together. The turns have at most
    `max_chars` characters of answers; with `complete`, all turns and values are written in full.
    """
    candidates = transcript.releases[1:]
    compared = compared or (candidates[0] if len(candidates) == 1 else "")
    side: Side = "both" if inline else "new"
    turns: list[tuple[Turn, list[tuple[TurnAnswer, Any]]]] = []
    size = 0
    for turn in transcript.turns:
        of_turn = [answer.run.outputs for answer in turn.answers if answer.run is not None]
        texts = (plain_text(value) for outputs in of_turn for value in outputs.values())
        size += sum(min(len(text), MAX_TEXT) for text in texts)
        if turns and not complete and (size > max_chars or len(turns) == _MAX_TURNS):
            break
        other = next((a for a in turn.answers[1:] if a.release == compared and not inline), None)
        rows = [
            _rows(answer, side, complete=complete, other=None if at else other)
            for at, answer in enumerate(turn.answers)
        ]
        turns.append((turn, list(zip(turn.answers, rows, strict=True))))
    return render(
        "transcript.html.j2",
        turns=turns,
        icon=icon,
        candidates=candidates,
        compared=compared,
        is_named=len({name for turn, _ in turns for a in turn.answers for name in a.outputs}) > 1,
        more=len(transcript.turns) - len(turns),
        not_run=max(0, transcript.planned - transcript.turns[-1].number if transcript.turns else 0),
        complete=complete,
        check=partial(check_html, icon=icon),
        text=partial(_message_html, complete=complete),
        short=lambda text: cut(visible_name(text), _MAX_GAP_CHARS),
    )


def _message_html(message: str, *, complete: bool) -> str:
    if not message:
        return '<span class="vnb-null">no message</span>'
    return (
        f'<div class="text">{escape(message)}</div>' if complete else value_html(message, "STRING")
    )


def _rows(
    answer: TurnAnswer, side: Side, *, complete: bool, other: TurnAnswer | None
) -> list[tuple[str, str, str]]:
    """Return the outputs of an answer: name, value as HTML, CSS class."""
    rows = []
    for name, cell in answer.outputs.items():
        new = other.outputs.get(name) if other else None
        if new is not None and new.status == "differs":
            html = new.baseline_html(complete=complete)
        else:
            html = cell.to_html(complete=complete, side=side)
        css = "vnb-prose" if is_prose(cell.value) else ""
        if not css and answer.checks.get(name) is False:
            css = "vnb-wrong"
        rows.append((name, html, css))
    missing = [name for name in answer.checks if name not in answer.outputs]
    return [*rows, *((name, '<span class="vnb-missing">? missing</span>', "") for name in missing)]
