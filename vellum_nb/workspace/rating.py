"""What a reader says about a run: checked, sent as the actuals that Vellum takes, and recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, Literal

from vellum_nb.client import Client
from vellum_nb.errors import HistoryError, InputError, InputProblem
from vellum_nb.history import History
from vellum_nb.models import ActualRequest, Run, canonical_json
from vellum_nb.models.checks import refuse
from vellum_nb.models.inputs import plain

OutputType = Literal["STRING", "JSON", "CHAT_HISTORY"]


def find_run(history: History, run: Run | str) -> Run:
    """Return the run as the history has it; a `Run` that it has not, as it is.

    Raises
    ------
    HistoryError
        The history has no such run.
    """
    if isinstance(run, Run):
        return next(iter(history.runs(ids=[run.id], limit=1)), run)
    if not isinstance(run, str):
        refuse("run", run, "a Run or a text")
    for kind in ({"ids": [run]}, {"execution_id": run}, {"external_id": run}):
        if found := history.runs(**kind, limit=1):
            return found[0]
    msg = (
        f"The history has no run with the id, execution id or external id {run!r}; "
        "ws.history.sync(deployment) brings runs that were made elsewhere"
    )
    raise HistoryError(msg)


def rate_run(
    client: Client,
    history: History,
    run: Run,
    output_names: Callable[[Run], Sequence[str]],
    *,
    quality: float | None,
    desired: Mapping[str, object] | None,
    metadata: Mapping[str, Any] | None,
) -> Run:
    """Send what is said about `run`, then record it; return the run with it.

    Vellum has desired values for text, objects and chat histories; others are sent as JSON text.
    """
    _check_mapping("desired", desired)
    _check_mapping("metadata", metadata)
    quality = _checked_quality(quality)
    if quality is None and not desired:
        msg = "Nothing to say about this run: give quality=, desired=, or both"
        raise InputError(msg)
    names = [name for name in run.outputs or output_names(run) if name]
    checked = _checked_desired(desired or {}, names, run)
    actuals = []
    for name in list(checked) or names:
        kind, value = _wire(checked.get(name), run.output_types.get(name, ""))
        actual = ActualRequest(
            output_key=name,
            output_type=kind,
            quality=quality,
            desired_output_value=value,
            metadata=plain(metadata),
        )
        actuals.append(actual)
    if not actuals:
        msg = f"This run of {run.deployment} has no output to rate; nothing was sent"
        raise InputError(msg)
    external_id = None if run.execution_id is not None else run.external_id
    client.submit_workflow_execution_actuals(
        actuals, execution_id=run.execution_id, external_id=external_id
    )
    fields: dict[str, Any] = {} if quality is None else {"quality": quality}
    if checked:
        fields["desired"] = {**(run.desired or {}), **checked}
    if not history.count(ids=[run.id]):
        return run.model_copy(update=fields)
    history.annotate(run.id, **fields)
    return history.get(run.id)


def _check_mapping(name: str, value: object) -> None:
    if not isinstance(value, Mapping | None):
        msg = f"{name}={value!r:.60} does not fit: give a dict; nothing was sent"
        raise InputError(msg)


def _checked_quality(quality: float | None) -> float | None:
    """Return `quality` as a float from 0 to 1."""
    if quality is None:
        return None
    with suppress(InputError):  # of NaN; the message below says what fits
        value = plain(quality)
        if isinstance(value, int | float) and 0 <= value <= 1:
            return float(value)
    msg = f"quality={quality!r:.60} does not fit: give a number from 0 (bad) to 1 (good), or None"
    raise InputError(msg)


def _checked_desired(
    desired: Mapping[str, object], known: Sequence[str], run: Run
) -> dict[str, Any]:
    """Return `desired` in plain values; every name must be an output."""
    found: dict[str, Any] = {}
    problems = []
    for name, value in desired.items():
        try:
            found[name] = plain(value)
        except InputError as exc:
            problems.append(InputProblem(name, str(exc)))
        if name not in known:
            close = get_close_matches(str(name), known, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            message = f"is no output; there are: {', '.join(known) or 'none'}.{hint}"
            problems.append(InputProblem(str(name), message))
    if problems:
        msg = f"The desired outputs of this run of {run.deployment} do not fit; nothing was sent:"
        raise InputError(msg, problems)
    return found


def _wire(value: Any, type_: str) -> tuple[OutputType, Any]:
    """Return how a desired value is sent."""
    if type_ == "CHAT_HISTORY" and isinstance(value, list | None):
        return "CHAT_HISTORY", value
    if isinstance(value, dict) or (value is None and type_ not in {"", "STRING"}):
        return "JSON", value
    if value is None or isinstance(value, str):
        return "STRING", value
    return "STRING", canonical_json(value)
