"""What is shown: the spec of a form, histories, sweeps and comparisons; inputs that are typed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from vellum_nb.comparison import Comparison
from vellum_nb.comparison.cases import Case
from vellum_nb.comparison.comparison import Services
from vellum_nb.errors import APIError, AuthenticationError, InputError, InputProblem
from vellum_nb.history import History
from vellum_nb.models import (
    Cancellation,
    Run,
    VellumVariable,
    WorkflowDeploymentRelease,
    WorkflowReleaseTagRead,
)
from vellum_nb.models.inputs import field_kind, format_value, infer_type
from vellum_nb.models.sweeps import SweepCase, SweepRecord
from vellum_nb.rendering.format import printable
from vellum_nb.sweep.plan import SweepPlan
from vellum_nb.sweep.progress import terminal_bar
from vellum_nb.sweep.sweep import Sweep
from vellum_nb.widgets.spec import FormSpec, TagChoice
from vellum_nb.workspace.lookup import Lookup
from vellum_nb.workspace.runner import Runner, case_request

if TYPE_CHECKING:
    from vellum_nb.comparison.blind import BlindSession
    from vellum_nb.widgets import BlindView, HistoryView, SweepView
    from vellum_nb.widgets.grid import ComparisonView


_MEDIA = {"image", "audio", "video", "document"}
_EXPECTED = {"number": "not a number", "bool": "neither true nor false"}


def parse_arguments(
    pairs: Sequence[str], variables: Sequence[VellumVariable] | None
) -> dict[str, object]:
    """Return the values of ``name=value`` pairs, typed by `variables`.

    The file that ``@path`` names is read; where it is an image, audio, video or a document it is
    itself the value.
    """
    kinds = {v.key: field_kind(v) for v in variables or ()}
    values: dict[str, object] = {}
    problems = []
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator:
            problems.append(InputProblem(pair, "is not name=value"))
            continue
        try:
            values[name] = _value(text, kinds.get(name, "text"))
        except (OSError, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or exc
            problems.append(InputProblem(name, f"{text!r} cannot be read: {reason}"))
        except RecursionError:
            problems.append(InputProblem(name, "cannot be read: it is nested too deep"))
    if problems:
        msg = "The inputs cannot be read; nothing was sent:"
        raise InputError(msg, problems)
    return values


def _value(text: str, kind: str) -> object:
    if kind in _MEDIA:
        return Path(text.removeprefix("@")) if text.startswith("@") else text
    if text.startswith("@"):
        text = Path(text[1:]).read_text(encoding="utf-8")
    if kind == "text":
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as exc:
        if kind == "enum":
            return text
        where = f"line {exc.lineno}, column {exc.colno}"
        msg = _EXPECTED.get(kind, f"not JSON ({where}; text in it stands in double quotes)")
        raise ValueError(msg) from exc


Variables = Sequence[VellumVariable | Mapping[str, Any]]


def form_spec(
    name: str, lookup: Lookup, history: History, *, source: str, variables: Variables | None = None
) -> FormSpec:
    """Return what the form of a deployment is made from; raise as `Workspace.form` does."""
    given = None if variables is None else tuple(_variable(item) for item in variables)
    try:
        deployment = lookup.deployment(name)
        tags = lookup.tags(name)
    except AuthenticationError as exc:
        why = f"This API key may not read the deployment ({exc.status_code})"
        note = f"{why}: the form is made from the variables you gave."
        if given is None:
            runs = history.runs(deployment=name, limit=1)
            if not runs:
                exc.add_note(
                    f"To have a form all the same, name its inputs: "
                    f'ws.form({name!r}, variables=[{{"key": "...", "type": "STRING"}}])'
                )
                raise
            given = tuple(
                VellumVariable(key=key, type=infer_type(value), required=False)
                for key, value in runs[0].inputs.items()
            )
            note = f"{why}: the form is made from the inputs of the last recorded run."
        latest = (TagChoice(release_id="", names=("LATEST",)),)
        return FormSpec(
            name=name,
            label=name,
            description="",
            source=source,
            variables=given,
            latest_release_id=None,
            tags=latest,
            notes=(note,),
        )
    return FormSpec(
        name=name,
        label=f"{deployment.label} ({name})" if deployment.label not in {"", name} else name,
        description=deployment.description or "",
        source=source,
        variables=deployment.input_variables if given is None else given,
        latest_release_id=next((tag.release_id for tag in tags if tag.name == "LATEST"), None),
        tags=_choices(tags),
        outputs=tuple(variable.key for variable in deployment.output_variables),
    )


def _variable(item: VellumVariable | Mapping[str, Any]) -> VellumVariable:
    try:
        return VellumVariable.model_validate(item)
    except ValidationError as exc:
        msg = (
            f"variables has {format_value(item)}, which is no input variable; "
            'write one like {"key": "ticket", "type": "STRING", "required": True}'
        )
        raise InputError(msg) from exc


def _choices(tags: Sequence[WorkflowReleaseTagRead]) -> tuple[TagChoice, ...]:
    """Return one choice a release, oldest first; the tag that stays with it stands first."""

    def age(tag: WorkflowReleaseTagRead) -> tuple[float, str]:
        ref = tag.release or tag.history_item
        return (ref.timestamp.timestamp() if ref and ref.timestamp else 0.0, tag.name)

    def rank(tag: WorkflowReleaseTagRead) -> tuple[bool, bool, bool, str]:
        moves = not any(sign.isdigit() for sign in tag.name)  # "v2" names it, "production" moves on
        return (tag.name == "LATEST", tag.source != "USER", moves, tag.name)

    by_release: dict[str, list[WorkflowReleaseTagRead]] = {}
    for tag in sorted(tags, key=age):
        by_release.setdefault(tag.release_id or "", []).append(tag)
    return tuple(
        TagChoice(release_id=release_id, names=tuple(tag.name for tag in sorted(own, key=rank)))
        for release_id, own in by_release.items()
    )


Rate = Callable[[Run, float, Mapping[str, Any]], object]
_HINT = "interrupt the kernel to stop: ■ in the toolbar, or I, I"


def in_notebook() -> bool:
    """Return whether a Jupyter kernel runs this; never loads IPython to find out."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def watch(sweep: Sweep, *, show: bool = True) -> AbstractContextManager[None]:
    """Show how far `sweep` is while the context is open.

    In a notebook its view (without `show` it stands elsewhere already), in a terminal one line on
    standard error, elsewhere nothing.
    """
    if in_notebook():
        return _in_cell(sweep, show=show)
    if sys.stderr is not None and sys.stderr.isatty():
        return terminal_bar(sweep.progress, sweep.subscribe, title=sweep.record.deployment)
    return nullcontext()


def announce(plan: SweepPlan) -> None:
    """Say in a terminal what is about to happen; a notebook has the view."""
    if not in_notebook() and sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"{printable(str(plan))}\n")


@contextmanager
def _in_cell(sweep: Sweep, *, show: bool) -> Iterator[None]:
    from IPython.display import display

    view = sweep.view()
    if show and not view.stands_here():
        view.stands_here(here=True)
        display(view)  # type: ignore[no-untyped-call]
    view.hint = _HINT
    try:
        yield
    finally:
        view.hint = ""


def view_history(history: History, **options: Any) -> HistoryView:
    """Return the interactive table of `history`."""
    from vellum_nb.widgets import HistoryView
    from vellum_nb.widgets.outputs import side_by_side_html

    return HistoryView(history, side_by_side=side_by_side_html, **options)


def view_sweep(
    sweep: Sweep,
    *,
    cases: Sequence[SweepCase],
    releases: Mapping[str, WorkflowDeploymentRelease | None],
) -> SweepView:
    """Return the live view of `sweep`."""
    from vellum_nb.widgets import SweepView

    numbers = {case.case_id: case.position + 1 for case in reversed(cases)}
    names = {tag: [each.name for each in r.release_tags] for tag, r in releases.items() if r}
    same = {tag: tuple(name for name in own if name != tag) for tag, own in names.items()}
    return SweepView(sweep, same=same, numbers=numbers)


def sweep_title(record: SweepRecord) -> str:
    """Return a sweep in a few words, by when it began on the clock of this machine."""
    when = record.created.astimezone()
    return f"sweep of {when.day} {when:%b %H:%M}"


def plain_services() -> Services:
    """Return what a comparison without a workspace has: nothing is rated, run or stored."""
    return Services(grid=_plain_grid, blind=partial(view_blind, rate=None))


def _plain_grid(comparison: Comparison) -> ComparisonView:
    from vellum_nb.widgets.grid import ComparisonView

    return ComparisonView(comparison)


def view_blind(session: BlindSession, *, rate: Rate | None) -> BlindView:
    """Return the widget of a blind rating."""
    from vellum_nb.widgets import BlindView

    return BlindView(session, rate=rate)


def replay(runner: Runner, deployment: str, case: Case, tag: str) -> Run:
    """Run a case of a comparison once more, on a release tag."""
    request = case_request(deployment, case.inputs, tag, runner.resolve(deployment, tag))
    return runner.execute(request, Cancellation())[0]


def same_releases(runner: Runner, comparison: Comparison) -> dict[str, tuple[str, ...]]:
    """Return for each release tag the others on the same release; {} where they are not known."""
    found: dict[str, tuple[str, ...]] = {}
    for tag in comparison.release_tags if comparison.by == "release_tag" else ():
        try:
            release = runner.resolve(comparison.deployment, tag)
        except APIError:
            return {}
        if release is not None and tag in comparison.releases:
            found[tag] = tuple(each.name for each in release.release_tags if each.name != tag)
    return found
