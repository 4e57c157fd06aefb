"""Chat mode of a form: each selected release continues its own conversation, turn by turn."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from html import escape
from typing import Any

import ipywidgets as ipw

from vellum_nb.comparison.actions import require
from vellum_nb.errors import InputError, VellumNBError
from vellum_nb.models import (
    Run,
    RunRequest,
    WorkflowDeploymentRelease,
    case_id,
    new_run_id,
)
from vellum_nb.models.inputs import plain, wire_type
from vellum_nb.models.sweeps import SweepCase, is_unsent
from vellum_nb.rendering.html import value_html
from vellum_nb.sweep.conversations import Conversation, empty_histories, script_id
from vellum_nb.widgets.base import SerialExecutor, button, close_tree, note, set_class, styled
from vellum_nb.widgets.markup import alert_html, name_html, page_safe
from vellum_nb.widgets.outputs import side_by_side_html
from vellum_nb.widgets.results import FormRuns


@dataclass(eq=False)
class _Turn:
    """A message, and the answer of each release."""

    message: str
    inputs: Mapping[str, Any]  # besides the message
    runs: dict[str, Run] = field(default_factory=dict)  # by release tag, also those not sent
    answers: FormRuns = field(init=False)
    edit: Any = None  # button
    widget: Any = None

    def message_html(self, number: int) -> str:
        text = value_html(self.message, "STRING")
        return f'<span class="vnb-quiet">turn {number}</span><div class="vnb-said">{text}</div>'


class ChatSection:
    """Conversations of the selected releases, and the box for the next message.

    Every release gets the same messages and continues from its own answers, as in a sweep. The
    releases are those of the first turn.

    Parameters
    ----------
    deployment : str
    conversation : Conversation
        What a turn gets from the turns before it.
    inputs : sequence of str
        The inputs that the chat fills; the first one is that of the message.
    release : callable
        Fetches the release that a tag points to.
    form_runs : FormRuns
        Those of the form, with the callbacks for answers and ends; each turn has a copy.
    changed : callable
        Called after each change.
    """

    def __init__(
        self,
        deployment: str,
        conversation: Conversation,
        inputs: Sequence[str],
        form_runs: FormRuns,
        *,
        release: Callable[[str], WorkflowDeploymentRelease],
        changed: Callable[[], None],
    ) -> None:
        self.inputs = tuple(inputs)
        self._deployment, self._given, self._release = deployment, conversation, release
        self._form_runs, self._changed = form_runs, changed
        self._executor = SerialExecutor("vellum-nb-chat")
        self._lock = threading.RLock()
        self._turns: list[_Turn] = []
        self._newest: _Turn | None = None  # possibly not displayed yet
        self._conversation = conversation  # with the inferred names
        self._types: dict[str, dict[str, str]] = {}  # of the inputs by release tag
        self._empty: dict[str, Any] = {}  # chat histories of the first turn, by input
        self._ids: dict[str, str] = {}  # of the conversations by release tag
        self._case_id, self._forked = "", 0  # turns of another conversation that it continues
        self._releases: dict[str, WorkflowDeploymentRelease] = {}
        self._edited: int | None = None  # index of the turn that the next message replaces
        self._is_busy = False
        self._build()
        self._show()

    def _build(self) -> None:
        self._list = styled(ipw.VBox(), "vnb-dialog-turns")
        self._state = note("", "vnb-dialog-state")
        self._box = ipw.Textarea(description="Message", placeholder="Write a message", rows=2)
        styled(self._box, "vnb-unlabelled vnb-say").observe(lambda _: self._changed(), "value")
        self._discard = button("Discard the edit", "vnb-dialog-discard", self._stop_editing)
        self._save = styled(ipw.ToggleButton(description="Save as case"), "vnb-dialog-save")
        self._save.observe(lambda _: self._show(), "value")
        self._new = button("New conversation", "vnb-dialog-new", self.restart)
        self._case = ipw.Textarea(description="Case, as JSON", rows=3)
        styled(self._case, "vnb-unlabelled vnb-json vnb-dialog-case")
        controls = [self._state, self._discard, self._save, self._new]
        foot = styled(ipw.Box(controls), "vnb-dialog-foot")
        self._set = ipw.Text(description="Case set", placeholder="Name of a case set")
        styled(self._set, "vnb-unlabelled")
        self._saved = note("", "vnb-dialog-saved")
        add = button("Add to the set", "vnb-dialog-add", lambda: self._executor.submit(self._add))
        to_set = [] if self._form_runs.actions is None else [self._set, add, self._saved]
        row = styled(ipw.Box(to_set), "vnb-dialog-foot")
        self._saving = styled(ipw.VBox([self._case, row]), "vnb-dialog")
        parts = [self._list, foot, self._saving, self._box]
        self.widget = styled(ipw.VBox(parts), "vnb-dialog")

    @property
    def message(self) -> str:
        """The message to send next."""
        return str(self._box.value)

    @property
    def is_open(self) -> bool:
        """True after the first turn, which selects the releases."""
        return bool(self._turns)

    def tags(self, selected: Sequence[str]) -> list[str]:
        """Return the release tags that get the next message."""
        kept = self._kept()
        if not kept:
            return list(selected)
        return [tag for tag, run in kept[-1].runs.items() if run.state == "FULFILLED"]

    @property
    def case(self) -> dict[str, Any]:
        """The conversation as a case of a sweep."""
        return self._script([turn for turn in self._turns if turn.runs])

    def _script(self, turns: Sequence[_Turn]) -> dict[str, Any]:
        inputs = [plain(turn.inputs) for turn in turns]
        if all(each == inputs[0] for each in inputs):
            return {"turns": [turn.message for turn in turns], **dict(*inputs[:1])}
        name = str(self._conversation.input)
        both = zip(turns, inputs, strict=True)
        return {"turns": [{name: turn.message, **others} for turn, others in both]}

    def focus(self) -> None:
        """Move the focus to the message."""
        self._box.focus()

    def send(self, tags: Sequence[str], inputs: Mapping[str, Any], *, streaming: bool) -> None:
        """Send the message with the other inputs, without waiting for the answers."""
        turn, form_runs = _Turn(self.message, inputs), self._form_runs
        turn.answers = replace(
            form_runs,
            run=partial(_unless_ended, turn.runs, form_runs.run),
            stream=form_runs.stream and partial(_unless_ended, turn.runs, form_runs.stream),
            answered=partial(self._on_answers, turn),
            ended=partial(self._on_end, turn),
            go_on=None,
        )
        self._newest, self._is_busy = turn, True
        self._show()
        turn.answers.start(partial(self._requests, turn, tags), streaming=streaming)

    def cancel(self) -> bool:
        """Cancel the runs in progress; return whether there were any."""
        return self._newest is not None and self._newest.answers.cancel()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the runs and additions in progress; return False on a timeout."""
        is_saved = self._executor.wait(timeout)
        return is_saved and (self._newest is None or self._newest.answers.wait(timeout))

    def restart(self) -> None:
        """Start new conversations; the runs stay in the history."""
        with self._lock:
            self._keep(0)
            self._edited, self._save.value = None, False
            self._show()
        self._changed()
        self.focus()

    def _edit(self, turn: _Turn) -> None:
        """Put a message into the box; sending it replaces the turn and drops the later ones."""
        self._edited, self._box.value = self._turns.index(turn), turn.message
        self._show()
        self._changed()
        self.focus()

    def _stop_editing(self) -> None:
        self._edited, self._box.value = None, ""
        self._show()
        self._changed()
        self.focus()

    def _add(self) -> None:
        """Add the case to the case set, and show the result."""
        name, case = self._set.value.strip(), self.case
        self._saved.value = ""
        try:
            actions = require(self._form_runs.actions, "save cases")
            summary = actions.add_cases(name, self._deployment, [case]) if case["turns"] else ""
            self._saved.value = f'<div role="status">{escape(summary)}</div>'
        except VellumNBError as exc:
            self._saved.value = alert_html(exc)

    def _kept(self) -> list[_Turn]:
        """Return the turns that the next one continues."""
        return [turn for turn in self._turns[: self._edited] if turn.runs]

    def close(self) -> None:
        """Cancel the runs in progress and close the widgets."""
        for turn in {*self._turns, *filter(None, [self._newest])}:
            turn.answers.close()
        self._executor.wait(2)
        close_tree(self.widget)

    def html(self) -> str:
        """Return the conversations as static HTML."""
        return "".join(
            f"<div>{turn.message_html(number)}</div>{side_by_side_html(list(turn.runs.values()))}"
            for number, turn in enumerate(self._turns, 1)
        )

    def _requests(self, turn: _Turn, tags: Sequence[str]) -> list[RunRequest]:
        """Return the requests of a turn, and display the turn."""
        with self._lock:
            kept = self._kept()
            if not kept:
                self._begin(tags)
            if not kept or self._edited is not None:
                self._ids, self._forked = {tag: new_run_id() for tag in self._types}, len(kept)
            self._case_id = self._script_id([*kept, turn])
            before = kept[-1].runs if kept else {}
            requests = [self._request(turn, tag, before, len(kept) + 1) for tag in self._types]
            self._edited = None
            self._keep(len(kept))
            self._place(turn)
        return requests

    def _begin(self, tags: Sequence[str]) -> None:
        """Begin a conversation with each release."""
        self._releases = releases = {tag: self._release(tag) for tag in tags}
        self._conversation = self._given.resolved(releases)
        self._empty = empty_histories(releases, self._conversation)
        self._types = {
            tag: {v.key: wire_type(v) for v in release.workflow_version.input_variables}
            for tag, release in releases.items()
        }

    def _script_id(self, turns: Sequence[_Turn]) -> str:
        """Return the case id of a sweep of these turns.

        A fork has an id of its own, as it lacks its first turns; if a turn is invalid, so has it.
        """
        script, talk = self._script(turns), replace(self._conversation, user=None, max_turns=None)
        try:
            whole = script_id(self._deployment, script, talk, self._releases)
        except InputError:
            return case_id({"conversations": list(self._ids.values())})
        return case_id({"script": whole, "forked": self._forked}) if self._forked else whole

    def _request(self, turn: _Turn, tag: str, before: Mapping[str, Run], number: int) -> RunRequest:
        """Return the request of a turn of one release; if its conversation has ended, add a run."""
        types, conversation = self._types[tag], self._conversation
        given = {**self._empty, **turn.inputs}
        inputs = conversation.first_inputs(turn.message, given, types)
        fields: dict[str, Any] = {"inputs": inputs}
        now = datetime.now(UTC)
        if number > 1:
            case = SweepCase(0, self._case_id, inputs)
            fields |= conversation.continued(case, before.get(tag), types, now)
        place = {"deployment": self._deployment, "release_tag": tag, "case_id": self._case_id}
        if "state" in fields:
            turn.runs[tag] = Run(id="", timestamp=now, turn=number, **place, **fields)
            fields = {"inputs": inputs}
        return RunRequest(
            not_sent=None, conversation_id=self._ids[tag], turn=number, **place, **fields
        )

    def _keep(self, number: int) -> None:
        """Keep the first turns and close the others."""
        dropped, self._turns = self._turns[number:], self._turns[:number]
        self._list.children = [turn.widget for turn in self._turns]
        for turn in dropped:
            turn.answers.close()
            close_tree(turn.widget)

    def _place(self, turn: _Turn) -> None:
        """Display a turn, and clear its message from the box."""
        said = note(turn.message_html(len(self._turns) + 1), "vnb-turn-said")
        tooltip = f"Edit turn {len(self._turns) + 1} and rerun from there"
        label = "Edit and rerun from here"
        turn.edit = button(label, "vnb-dialog-edit", partial(self._edit, turn), tooltip=tooltip)
        turn.edit.disabled = True
        head = styled(ipw.Box([said, turn.edit]), "vnb-dialog-head")
        turn.widget = styled(ipw.VBox([head, turn.answers.answers.widget]), "vnb-dialog-turn")
        self._turns.append(turn)
        self._list.children = [shown.widget for shown in self._turns]
        if self.message == turn.message:
            self._box.value = ""

    def _on_answers(self, turn: _Turn, runs: tuple[Run, ...]) -> None:
        with self._lock:
            turn.runs.update({run.release_tag: run for run in runs})
            self._show()
        if turn is self._newest:
            self._form_runs.answered(tuple(run for run in runs if not is_unsent(run)))
        self._changed()

    def _on_end(self, turn: _Turn) -> None:
        """Return the message to the box if it was not sent."""
        if not turn.runs and not self.message:
            self._box.value = turn.message
        self._is_busy = False
        self._show()
        self._form_runs.ended()

    def _show(self) -> None:
        """Show what can be done, and which conversations have ended."""
        text = self._ended_html()
        if self._edited is not None:
            turn = self._edited + 1
            text = f"Editing turn {turn}: Send replaces it and the turns after it."
        self._state.value = f'<div role="status">{text}</div>' if text else ""
        is_idle = bool(self._turns) and not self._is_busy
        for control in (self._new, self._save, *(turn.edit for turn in self._turns)):
            control.disabled = not is_idle
        if self._save.value:
            self._case.value = page_safe(json.dumps(self.case, ensure_ascii=False))
        set_class(self._discard, "vnb-folded", on=self._edited is None)
        set_class(self._saving, "vnb-folded", on=not self._save.value)

    def _ended_html(self) -> str:
        ended = []
        for tag in self._types if self._turns else ():
            runs = [turn.runs.get(tag) for turn in self._turns]
            failed = [n for n, run in enumerate(runs, 1) if run and run.state != "FULFILLED"]
            if failed:
                ended.append(f"<code>{name_html(tag)}</code> ended at turn {failed[0]}")
        text = f"Conversation of {', '.join(ended)}." if ended else ""
        if ended and len(ended) == len(self._types):
            text += " Edit a message to rerun from there, or start a new conversation."
        return text


def _unless_ended(
    runs: Mapping[str, Run], execute: Callable[..., Run], request: RunRequest, *arguments: Any
) -> Run:
    """Execute a request, unless the conversation of its release has ended."""
    return runs.get(request.release_tag) or execute(request, *arguments)
