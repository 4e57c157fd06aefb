"""Metrics, which score runs; public as `vellum_nb.metrics`.

Each function returns a `vellum_nb.Metric`; one without required arguments can also be passed
uncalled: ``metrics=[vnb.metrics.exact, vnb.metrics.latency_s]``. `output` selects one output.
Default: all outputs, or all with an expected value.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from functools import partial
from itertools import combinations
from operator import itemgetter
from statistics import fmean
from typing import Any, Literal, TypeAlias

from vellum_nb.comparison.actions import Actions
from vellum_nb.comparison.cases import error_text, failure_names
from vellum_nb.comparison.conversations import ConversationRuns, checks
from vellum_nb.comparison.traces import in_order as nodes_in_order
from vellum_nb.errors import InputError
from vellum_nb.escaping import printed
from vellum_nb.lazy import jsonschema
from vellum_nb.models import Run, case_id
from vellum_nb.models.checks import (
    available,
    check_integer,
    check_list,
    check_text,
    check_texts,
    refuse,
)
from vellum_nb.models.inputs import format_value
from vellum_nb.models.trace import function_calls
from vellum_nb.rendering.format import value_text

__all__ = [
    "calls",
    "contains",
    "cost_usd",
    "exact",
    "json_schema",
    "json_valid",
    "judge",
    "latency_s",
    "length",
    "node_count",
    "nodes",
    "numeric_close",
    "quality",
    "regex",
    "score",
    "similarity",
]

Value: TypeAlias = bool | int | float | None
"""Result of a metric for a run; None if it does not apply."""

Aggregate: TypeAlias = Literal["mean", "min", "max", "last", "sum"]
"""How the figures of turns make that of a conversation."""

Evaluation: TypeAlias = tuple[float | None, str | None]
"""A figure or the reason why it is missing; neither if the metric does not apply."""


def __dir__() -> list[str]:
    return __all__


class Metric:
    """Function that scores runs. Higher is better by default.

    Parameters
    ----------
    fn : callable or Metric
        Called as ``fn(run)``, or as ``fn(run, expected)`` if it takes two arguments; `expected`
        maps output names to expected values. A parameter named `conversation` gets all turns of a
        conversation: its `runs`, their `expected` values, the `transcript` as text, and the number
        of `turns`. Returns a bool (pass or fail), a number, or None if it does not apply. An
        exception is recorded as an error of the run. A metric keeps the options not given here.
    name : str, optional
        Name in columns. Default: the function's name.
    lower_is_better : bool, default False
        Whether low figures are good. Default: the function's attribute ``lower_is_better``, if any.
    rejected : bool or float, optional
        The figure of a rejected run, for which `fn` is not called. Default: `fn` is called.
    tolerance : float, default 0
        Largest difference that counts as none.
    bounds : (float, float), optional
        Smallest and largest possible figure, such as ``(1, 5)`` for stars; another figure is an
        error. With ``(0, 1)`` the metric is a score: it has a default margin, and a lost answer
        counts as a failure. Default: unknown, except for pass or fail.
    aggregate : {"mean", "min", "max", "last", "sum"}, optional
        The figure of a conversation, from those of its turns. If `fn` takes `expected`, turns
        without expected values are left out, unless none has any. Default: "min" of bools, so that
        every turn must pass; "mean" of numbers. Not used with a parameter `conversation`.

    Raises
    ------
    InputError
        `fn` cannot be called with a run, or an option is invalid.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> polite = vnb.Metric(lambda run: "sorry" in run.outputs["reply"], name="polite")
    >>> polite
    <Metric polite: higher is better>
    """

    looks_at: str | None
    """The selected output of a metric of this module."""
    nodes: Sequence[str]
    """Names of the nodes that it reads."""

    def __init__(
        self,
        fn: Any,
        *,
        name: str | None = None,
        lower_is_better: bool | None = None,
        rejected: Value = None,
        tolerance: float = 0.0,
        bounds: tuple[float, float] | None = None,
        aggregate: Aggregate | None = None,
    ) -> None:
        if not callable(fn):
            refuse("fn", fn, "a function of a run")
        if aggregate is not None and aggregate not in _AGGREGATES:
            *names, last = map(repr, _AGGREGATES)
            refuse("aggregate", aggregate, f"{', '.join(names)} or {last}")
        given = vars(fn) if type(fn) is Metric else {}
        self.bounds = given.get("bounds") if bounds is None else _checked_bounds(bounds)
        self.fn: Callable[..., Value] = given.get("fn", fn)
        named = given.get("name") or getattr(fn, "__name__", type(fn).__name__)
        self.name = name or ("metric" if named == "<lambda>" else str(named))
        if lower_is_better is None:
            lower_is_better = bool(getattr(fn, "lower_is_better", False))
        self.lower_is_better = lower_is_better
        self.rejected = given.get("rejected") if rejected is None else rejected
        self.tolerance = float(tolerance) or given.get("tolerance", 0.0)
        self.aggregate: Aggregate | None = aggregate or given.get("aggregate")
        self.looks_at, self.nodes = given.get("looks_at"), given.get("nodes", ())
        self._arguments = _arguments_of(self.fn, self.name)

    def __call__(
        self,
        run: Run,
        expected: Mapping[str, Any] | None = None,
        conversation: ConversationRuns | None = None,
    ) -> Value:
        """Return the result of the function for `run`."""
        if self.rejected is not None and run.state == "REJECTED":
            return self.rejected
        values = {
            "run": run,
            "expected": dict(expected or {}),
            "conversation": conversation or ConversationRuns((run,), (expected or {},)),
        }
        result: Value = _called(self.fn, self._arguments, values)
        return result

    def evaluate(
        self,
        run: Run,
        expected: Mapping[str, Any],
        conversation: ConversationRuns | None = None,
    ) -> Evaluation:
        """Return the figure of a run or conversation, or the reason why it is missing.

        Exceptions of the function are caught.
        """
        names = [name for group in self._arguments for name in group]
        is_whole = conversation is None or conversation.turns == 1 or self.is_of_conversation
        if is_whole or (run.state == "REJECTED" and self.rejected is not None):
            return self._evaluated(run, expected, conversation)
        assert conversation is not None  # noqa: S101  (for mypy)
        turns = list(zip(conversation.runs, conversation.expected, strict=True))
        if "expected" in names:
            turns = [turn for turn in turns if turn[1]] or turns
        figures = []
        for of_turn in turns[-1:] if self.aggregate == "last" else turns:
            figure, problem = self._evaluated(*of_turn)
            if problem is not None:
                return None, f"turn {of_turn[0].turn}: {problem}"
            figures += [] if figure is None else [figure]
        if not figures:
            return None, None
        is_check = all(isinstance(figure, bool) for figure in figures)
        return self._checked(
            _AGGREGATES[self.aggregate or ("min" if is_check else "mean")](figures)
        )

    def _evaluated(
        self,
        run: Run,
        expected: Mapping[str, Any],
        conversation: ConversationRuns | None = None,
    ) -> Evaluation:
        """Return the figure of one call, or the reason why it is missing."""
        try:
            value = self(run, expected, conversation)
        except Exception as exc:  # noqa: BLE001  (a user's function may raise anything)
            return None, self._problem(exc)
        return self._checked(value)

    def _checked(self, value: object) -> Evaluation:
        number, problem = _checked(value)
        low, high = self.bounds or (-math.inf, math.inf)
        if number is not None and not low <= number <= high:
            return None, f"{number} is outside the bounds {low:g} to {high:g}"
        return number, problem

    def _problem(self, exc: Exception) -> str:
        return f"{type(exc).__name__}: {exc}"

    @property
    def is_of_conversation(self) -> bool:
        """Whether the function gets all turns of a conversation."""
        return any(_CONVERSATION in group for group in self._arguments)

    @property
    def sign(self) -> int:
        """1 if higher is better, -1 otherwise."""
        return -1 if self.lower_is_better else 1

    @printed
    def __repr__(self) -> str:
        which = "lower" if self.lower_is_better else "higher"
        return f"<Metric {self.name}: {which} is better>"


def _checked_bounds(bounds: Any) -> tuple[float, float]:
    """Return `bounds` as two numbers, the smaller one first."""
    with suppress(TypeError, ValueError):
        low, high = map(float, bounds)
        if low < high:
            return low, high
    refuse("bounds", bounds, "the smallest and the largest possible figure, such as (0, 1)")


def _arguments_of(fn: Callable[..., Any], name: str) -> tuple[list[str], list[str]]:
    """Return what the function gets: arguments by position, and those by name."""
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):  # builtins without a signature
        return ["run"], []
    names = list(signature.parameters)
    others = [each for each in signature.parameters.values() if each.name != _CONVERSATION]
    has_conversation = len(others) < len(names)
    for arguments in (["run", "expected"], ["run"], *([[]] if has_conversation else [])):
        with suppress(TypeError):
            signature.replace(parameters=others).bind(*arguments)
            if not has_conversation:
                return arguments, []
            if signature.parameters[_CONVERSATION].kind is inspect.Parameter.KEYWORD_ONLY:
                return arguments, [_CONVERSATION]
            at = names.index(_CONVERSATION)
            return [*arguments[:at], _CONVERSATION, *arguments[at:]], []
    msg = (
        f"the metric {name} takes {signature}; it is called with a run, or (run, expected), and "
        "with conversation if it has a parameter of that name"
    )
    raise InputError(msg)


def _called(
    fn: Callable[..., Any], arguments: tuple[list[str], list[str]], values: Mapping[str, Any]
) -> Any:
    """Call `fn` with the arguments that `_arguments_of` returned."""
    by_position, by_name = arguments
    return fn(*(values[name] for name in by_position), **{name: values[name] for name in by_name})


_CONVERSATION = "conversation"
_AGGREGATES: Mapping[str, Callable[[list[float]], float]] = {
    "mean": fmean,
    "min": min,
    "max": max,
    "last": itemgetter(-1),
    "sum": math.fsum,
}
_SHARE, _AMOUNT = (0.0, 1.0), (0.0, math.inf)  # bounds of scores, and of seconds or costs
_MAX_VALUE = 1e100  # its square and cube are finite


def _checked(value: object) -> Evaluation:
    if value is None:
        return None, None
    if isinstance(value, bool) or type(value).__name__ == "bool_":
        return bool(value), None
    try:
        number = float("x" if isinstance(value, str) else value)  # type: ignore[arg-type]  # numpy
    except (TypeError, ValueError):
        return None, f"{format_value(value)} is neither a bool nor a number"
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        return None, f"{number} is not a finite number"
    if abs(number) >= _MAX_VALUE:
        return None, f"{number} is too large to compare"
    return number, None


Expected = dict[str, Any]
_text = partial(value_text, kind="JSON")


def _built_in(
    fn: Callable[..., Value], name: str, output: Any = None, *, reads: bool = False, **options: Any
) -> Metric:
    """Return a built-in metric. With `reads`, comparing runs without the output is an error."""
    check_text("output", output, optional=True)
    metric = Metric(fn, name=name if output is None else f"{name}({output})", **options)
    metric.looks_at = output if reads else None
    return metric


_amount = partial(_built_in, lower_is_better=True, bounds=_AMOUNT)


def score() -> Metric:
    """Return the share of expected outputs that were met, the default metric for them."""

    def share(run: Run, expected: Expected) -> float | None:
        met = checks(run.outputs, expected)
        return sum(met.values()) / len(met) if met else None

    return _built_in(share, "score", rejected=0.0, bounds=_SHARE)


def exact(output: str | None = None) -> Metric:
    """Return whether all expected outputs, or `output`, were met."""

    def all_met(run: Run, expected: Expected) -> bool | None:
        met = checks(run.outputs, _part(expected, output))
        return all(met.values()) if met else None

    return _built_in(all_met, "exact", output, rejected=False)


def numeric_close(output: str | None = None, *, rel: float = 1e-9, abs: float = 0.0) -> Metric:  # noqa: A002  (as in math.isclose)
    """Return whether expected numbers were met within a tolerance. Numbers can be text.

    Reads all outputs with an expected number, or `output`.

    Parameters
    ----------
    rel, abs : float
        Relative and absolute tolerance, as in `math.isclose`.
    """

    def close(run: Run, expected: Expected) -> bool | None:
        targets = {name: _number(value) for name, value in _part(expected, output).items()}
        pairs = [(_number(run.outputs.get(n)), w) for n, w in targets.items() if w is not None]
        if not pairs:
            return None
        return all(n is not None and math.isclose(n, w, rel_tol=rel, abs_tol=abs) for n, w in pairs)

    return _built_in(close, "numeric_close", output, rejected=False)


def similarity(output: str | None = None) -> Metric:
    """Return the similarity of outputs to their expected text, from 0 to 1.

    The share of characters that need not be inserted or deleted (rapidfuzz's Indel similarity), as
    a mean over outputs. Structured values are compared as JSON text.
    """

    def alike(run: Run, expected: Expected) -> float | None:
        from rapidfuzz.distance import Indel

        likeness = [
            Indel.normalized_similarity(_text(run.outputs[name]), _text(one))
            if name in run.outputs
            else 0.0
            for name, one in _part(expected, output).items()
        ]
        return sum(likeness) / len(likeness) if likeness else None

    return _built_in(alike, "similarity", output, rejected=0.0, bounds=_SHARE)


def contains(text: Any, output: str | None = None, *, ignore_case: bool = True) -> Metric:
    """Return whether any output, or `output`, contains `text`.

    Parameters
    ----------
    text : str
        The text to find.
    ignore_case : bool, default True
        Whether to ignore case.
    """
    check_text("text", text)
    fold: Callable[[str], str] = str.casefold if ignore_case else str

    def has_text(run: Run) -> bool:
        return any(fold(text) in fold(_text(value)) for value in _values(run, output))

    return _built_in(has_text, "contains", output, reads=True, rejected=False, aggregate="max")


def regex(pattern: str, output: str | None = None) -> Metric:
    """Return whether `pattern` matches anywhere in any output, or in `output`.

    Parameters
    ----------
    pattern : str
        A regular expression of Python's `re`.

    Raises
    ------
    InputError
        The pattern is invalid.
    """
    try:
        compiled = re.compile(pattern)
    except (re.error, TypeError) as exc:
        msg = f"{pattern!r:.60} is not a regular expression: {exc}"
        raise InputError(msg) from exc

    def matches(run: Run) -> bool:
        return any(compiled.search(_text(value)) for value in _values(run, output))

    return _built_in(matches, "regex", output, reads=True, rejected=False, aggregate="max")


def json_valid(output: str | None = None) -> Metric:
    """Return whether all outputs, or `output`, are structured values or valid JSON."""

    def valid(run: Run) -> bool:
        values = _values(run, output)
        return bool(values) and all(_parsed(value) is not _NO_JSON for value in values)

    return _built_in(valid, "json_valid", output, reads=True, rejected=False)


def json_schema(schema: Mapping[str, Any], output: str | None = None) -> Metric:
    """Return whether all outputs, or `output`, match a JSON schema. Text is parsed as JSON.

    Parameters
    ----------
    schema : mapping
        A JSON schema; its ``$schema`` selects the draft, 2020-12 by default.

    Raises
    ------
    InputError
        The schema is invalid.
    """
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(dict(schema))
    except jsonschema.SchemaError as exc:
        msg = f"this is not a JSON schema: {exc.message}"
        raise InputError(msg) from exc
    validator = kind(dict(schema))

    def fits(run: Run) -> bool:
        parsed = list(map(_parsed, _values(run, output)))
        return bool(parsed) and all(
            value is not _NO_JSON and validator.is_valid(value) for value in parsed
        )

    return _built_in(fits, "json_schema", output, reads=True, rejected=False)


def length(output: str | None = None, *, lower_is_better: bool = True) -> Metric:
    """Return the number of characters of all outputs, or of `output`.

    Parameters
    ----------
    lower_is_better : bool, default True
        Whether short outputs are good.
    """

    def characters(run: Run) -> int | None:
        values = _values(run, output)
        return sum(len(_text(value)) for value in values) if values else None

    return _amount(characters, "length", output, reads=True, lower_is_better=lower_is_better)


def latency_s() -> Metric:
    """Return the latency of the run in seconds; lower is better."""
    return _amount(lambda run: run.latency_s, "latency_s", aggregate="sum")


def cost_usd() -> Metric:
    """Return the cost of the run, if known; lower is better."""
    return _amount(lambda run: run.cost_usd, "cost_usd", aggregate="sum")


def quality() -> Metric:
    """Return the rating of the run by a person, from 0 to 1."""
    return _built_in(lambda run: run.quality, "quality", bounds=_SHARE, aggregate="last")


def nodes(contains: str | Sequence[str], *, in_order: bool = False) -> Metric:
    """Return whether nodes with these names ran, optionally in this order.

    A run without a stored trace is an error of the metric: ``expand_meta=True`` records the trace
    with the run, and ``ws.trace(run)`` fetches it later.
    """
    names = [contains] if isinstance(contains, str) else check_texts("contains", contains)
    if not names:
        refuse("contains", contains, "names of nodes")

    def ran(run: Run) -> bool:
        began = iter(_traced(run))
        return all(name in began for name in names) if in_order else set(names) <= set(began)

    metric = _built_in(ran, f"nodes({', '.join(names)})", aggregate="max")
    metric.nodes = names
    return metric


def node_count(name: str, *, lower_is_better: bool = True) -> Metric:
    """Return the number of executions of the node called `name`; reads traces as `nodes`."""
    check_text("name", name)
    title = f"node_count({name})"
    options: dict[str, Any] = {"lower_is_better": lower_is_better, "aggregate": "sum"}
    metric = _amount(lambda run: _traced(run).count(name), title, **options)
    metric.nodes = [name]
    return metric


def calls(function: str, arguments: Mapping[str, Any] | None = None) -> Metric:
    """Return whether a model called `function`, according to the outputs of the run or of a node.

    `arguments` are required values of arguments. A run without such a call and without a stored
    trace is an error of the metric, as in `nodes`.
    """
    check_text("function", function)
    if not isinstance(arguments, Mapping | None):
        refuse("arguments", arguments, "a mapping of argument names to values")

    def called(run: Run) -> bool:
        typed = [{"type": run.output_types.get(n), "value": v} for n, v in run.outputs.items()]
        made = [*function_calls(typed), *(call for node in run.nodes for call in node.calls)]
        parsed = (_parsed(call["arguments"]) for call in made if call["name"] == function)
        met = (checks(p if isinstance(p, dict) else {}, arguments or {}) for p in parsed)
        return any(all(check.values()) for check in met) or not _traced(run)

    return _built_in(called, f"calls({function})", aggregate="max")


def _traced(run: Run) -> list[str]:
    """Return the names of the nodes of a run, ordered by start."""
    if not run.nodes:
        msg = "its trace is not in the history: ws.trace(run) reads it, expand_meta=True records it"
        raise ValueError(msg)
    return [node.name for _, node in nodes_in_order(run.nodes)]


def _part(values: dict[str, Any], output: str | None) -> dict[str, Any]:
    """Return all values, or only that of `output`."""
    return {name: value for name, value in values.items() if output in {None, name}}


def _number(value: object) -> float | None:
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            number = float(value)
            return number if math.isfinite(number) else None
    return None


def _values(run: Run, output: str | None) -> list[Any]:
    return list(_part(run.outputs, output).values())


_NO_JSON = object()


def _parsed(value: object) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return _NO_JSON


Inputs: TypeAlias = Mapping[str, str] | Callable[[Run, dict[str, Any]], Mapping[str, Any]]


def judge(
    deployment: str,
    *,
    inputs: Inputs | None = None,
    output: str | None = None,
    release_tag: str = "LATEST",
    name: str | None = None,
    lower_is_better: bool = False,
    rejected: Value = 0.0,
    repeats: int = 1,
    threshold: float = 0.5,
) -> Judge:
    """Return a metric that is computed by another workflow.

    Its runs are recorded in the same history and reused: equal inputs on the same release are
    judged once. ``ws.compare`` and ``sweep.compare`` run it, subject to ``dry_run``, ``max_calls``
    and ``max_cost_usd``.

    Parameters
    ----------
    deployment : str
        The name of the judging workflow.
    inputs : mapping or callable, optional
        Its input variables, mapped to columns of the frame: ``{"question": "input.ticket",
        "answer": "output.reply", "right": "expected.category"}``. In a conversation, they are those
        of the last turn; ``"conversation.transcript"`` is the text of all turns,
        ``"conversation.messages"`` their chat history. Or a function of (run, expected) that
        returns its inputs; a parameter named `conversation` gets the turns, as in `Metric`.
        Default: ``inputs``, ``outputs`` and ``expected`` as objects; the ``outputs`` of a
        conversation also have its ``transcript``.
    output : str, optional
        The output with the figure: a number, a bool, or text of either. Default: ``score``, or the
        only output.
    release_tag : str, default "LATEST"
        The release of the judge.
    name : str, optional
        Name in columns. Default: the deployment's name.
    lower_is_better : bool, default False
        Whether low figures are good.
    rejected : bool or float, default 0
        The figure of a rejected run, which is not judged. None: judge it.
    repeats : int, default 1
        Number of judgements per answer. The majority of bools counts, or the mean of numbers;
        ``summary`` shows how often two judgements on one answer differ.
    threshold : float, default 0.5
        Smallest passing figure (largest, if lower is better), used by ``judge_check``.
    """
    check_text("deployment", deployment)
    check_integer("repeats", repeats, least=1)
    check_columns(inputs, ("input", "output", "expected", _CONVERSATION))
    if _checked(threshold)[0] is None:
        refuse("threshold", threshold, "a number, such as 0.5")
    options: dict[str, Any] = {"lower_is_better": lower_is_better, "rejected": rejected}
    options |= {"repeats": repeats, "threshold": threshold}
    return Judge(deployment, release_tag, inputs, output, name=name or deployment, **options)


def check_columns(inputs: object, sides: Sequence[str], needed: Sequence[str] = ()) -> None:
    """Raise if `inputs` of a judge maps a variable to something else than a column of `sides`.

    A mapping must have a column of each side in `needed`.
    """
    if not (inputs is None or isinstance(inputs, Mapping) or callable(inputs)):
        refuse("inputs", inputs, "a mapping, such as {'answer': 'output.reply'}, or a function")
    if not isinstance(inputs, Mapping):
        return
    for variable, column in inputs.items():
        side, _, of = str(column).partition(".")
        if side not in sides or not of:
            columns = [f"{name}.<name>" for name in sides]
            refuse(f"inputs[{variable!r}]", column, f"{', '.join(columns[:-1])} or {columns[-1]}")
        if side.endswith(_CONVERSATION) and of not in _OF_CONVERSATION:
            names = " or ".join(f"{side}.{name}" for name in _OF_CONVERSATION)
            refuse(f"inputs[{variable!r}]", column, names)
    read = {str(column).partition(".")[0] for column in inputs.values()}
    if not {side.removesuffix(f"_{_CONVERSATION}") for side in read} >= set(needed):
        columns = [f"{name}.<name>" for name in needed]
        refuse("inputs", dict(inputs), f"a mapping with columns {' and '.join(columns)}")


_OF_CONVERSATION = ("transcript", "messages")
_OUTPUT_SIDES = ("output", "first", "second")  # the last two are of `DuelJudge`

Judgement: TypeAlias = Sequence[Run] | str
"""The runs of a judge on one answer, or the reason why they are missing."""


def answered(judgement: Judgement, workflow: str) -> Sequence[Run]:
    """Return the runs of a judgement; raise a `ValueError` if any lacks an answer."""
    if not isinstance(judgement, str):
        failed = next((run for run in judgement if run.state != "FULFILLED"), None)
        if failed is None:
            return judgement
        error = error_text(failed)
        judgement = f"ended {failed.state}{f': {error}' if error else ''}"
    msg = f"{workflow} {judgement}"
    raise ValueError(msg)


class Judge(Metric):
    """Metric that reads judgements, which `vellum_nb.comparison.judge_calls` makes.

    Attributes
    ----------
    actions : Actions or None
        The workspace that runs the judge. Default: the one that compares.
    judgements : mapping
        The `case_id` of the judge's inputs to its runs, or to the reason why they are missing.
    """

    default_output = "score"

    def __init__(
        self,
        deployment: str,
        release_tag: str,
        inputs: Inputs | None,
        output: str | None,
        *,
        repeats: int,
        threshold: float,
        **options: Any,
    ) -> None:
        super().__init__(self._judged, **options)
        self.deployment = deployment
        self.release_tag = release_tag
        self.inputs = inputs
        self._reads = _arguments_of(inputs, self.name) if callable(inputs) else ([], [])
        self.output = output
        self.repeats = repeats
        self.threshold = threshold
        self.actions: Actions | None = None
        self.judgements: Mapping[str, Judgement] = {}

    def replaced(self, **changes: Any) -> Judge:
        """Return the same judge with other `actions` or `judgements`."""
        copied = copy(self)
        vars(copied).update(changes, fn=copied._judged)  # noqa: SLF001  (of this class)
        return copied

    def check_outputs(self, names: Sequence[str], inputs: object = None) -> None:
        """Raise if `inputs` (default: those of the judge) read an output that is not in `names`."""
        columns = self.inputs if inputs is None else inputs
        for column in columns.values() if isinstance(columns, Mapping) and names else ():
            side, _, name = column.partition(".")
            if side in _OUTPUT_SIDES and name not in names:
                outputs = available([f"{side}.{output}" for output in names])
                msg = f"the judge {self.name}: no answer has {column!r}{outputs}"
                raise InputError(msg)

    def request(
        self, run: Run, expected: dict[str, Any], conversation: ConversationRuns | None = None
    ) -> dict[str, Any]:
        """Return the inputs of the judging workflow for a run, the last of a conversation."""
        talk = conversation or ConversationRuns((run,), (expected,))
        if callable(self.inputs):
            values: dict[str, Any] = {"run": run, "expected": expected, _CONVERSATION: talk}
            return dict(_called(self.inputs, self._reads, values))
        sides = {"input": run.inputs, "output": run.outputs, "expected": expected}
        if self.inputs is None:
            return {"inputs": run.inputs, "outputs": talk.answer, "expected": expected}
        return filled(self.inputs, {**sides, _CONVERSATION: talk})

    def _problem(self, exc: Exception) -> str:
        return str(exc) if type(exc) is ValueError else super()._problem(exc)

    def characters(self, conversation: ConversationRuns) -> int:
        """Return the length of the outputs that the judge reads, in all turns that it reads."""
        columns = self.inputs.values() if isinstance(self.inputs, Mapping) else ()
        reads_all = self.inputs is None or any(_CONVERSATION in part for part in self._reads)
        if reads_all or any(column.startswith(f"{_CONVERSATION}.") for column in columns):
            runs, columns = conversation.runs, ()
        else:
            runs = conversation.runs[-1:]
        names = {c.removeprefix("output.") for c in columns if c.startswith("output.")}
        outputs = [item for run in runs for item in run.outputs.items()]
        return sum(len(_text(value)) for name, value in outputs if not names or name in names)

    def failures(
        self,
        run: Run,
        expected: Mapping[str, Any],
        conversation: ConversationRuns | None = None,
    ) -> list[str]:
        """Return the failures that it names in its output `failures`: text, or a list of texts."""
        named: list[Any] = []
        with suppress(Exception):  # `evaluate` reports errors of user functions
            inputs = self.request(run, dict(expected), conversation)
            judgements: Any = self.judgements[case_id(inputs)]
            for judgement in judgements if isinstance(judgements, list) else [judgements]:
                names = judgement.outputs.get("failures")
                named += names if isinstance(names, list) else [names]
        return failure_names(named)

    def passes(self, figure: float) -> bool:
        """Return whether an answer with this figure passes."""
        return figure < self.threshold if self.lower_is_better else figure >= self.threshold

    def verdicts(self, key: str) -> list[bool | float]:
        """Return the judge's figures of one answer by the `case_id` of its inputs, or raise."""
        runs = answered(self.judgements.get(key, "was not called"), f"the judge {self.deployment}")
        return [self._figure(run.outputs) for run in runs]

    def noise(self) -> tuple[float, int]:
        """Return how often two verdicts on one answer differ, and the number of answers."""
        several = []
        for key in self.judgements if self.repeats > 1 else ():
            with suppress(ValueError):  # reported by `errors`
                several.append(self.verdicts(key))
        pairs = [a != b for verdicts in several for a, b in combinations(verdicts, 2)]
        return sum(pairs) / len(pairs) if pairs else math.nan, sum(len(e) > 1 for e in several)

    def _judged(self, run: Run, expected: Expected, conversation: ConversationRuns) -> Value:
        verdicts = self.verdicts(case_id(self.request(run, expected, conversation)))
        if all(isinstance(verdict, bool) for verdict in verdicts):
            return 2 * sum(verdicts) > len(verdicts)
        return sum(verdicts) / len(verdicts)

    def _figure(self, outputs: Mapping[str, Any]) -> bool | float:
        default = self.default_output
        name = self.output or (default if default in outputs else next(iter(outputs), ""))
        if name not in outputs or (self.output is None and len(outputs) > 1 and name != default):
            listed = ", ".join(outputs) or "none"
            msg = f"which output of {self.deployment} is the figure? give output=...: {listed}"
            raise ValueError(msg)
        return self._parsed(name, outputs[name])

    def _parsed(self, name: str, value: Any) -> bool | float:
        """Return the figure in the output `name`, or raise a ValueError."""
        if isinstance(value, str):
            with suppress(ValueError):
                text = value.strip().casefold()
                value = _WORDS[text] if text in _WORDS else float(text)
        number, problem = _checked(value)
        if number is None:
            msg = f"{name} of {self.deployment}: {problem or 'it is None, no figure'}"
            raise ValueError(msg)
        return number


_WORDS = {"true": True, "yes": True, "pass": True, "false": False, "no": False, "fail": False}


def filled(columns: Mapping[str, str], sides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of columns such as ``output.reply``, by the name of the variable.

    A side is a mapping, or a conversation.
    """

    def value(column: str) -> Any:
        side, _, name = column.partition(".")
        values = sides[side]
        return values.get(name) if isinstance(values, Mapping) else getattr(values, name)

    return {variable: value(column) for variable, column in columns.items()}


One: TypeAlias = Metric | str | Callable[..., Value | Metric]
Metrics: TypeAlias = One | Sequence[One]
"""Metrics, functions of a run, names of built-in ones; one or several."""

_BUILT_IN: Mapping[str, Callable[..., Metric]] = {name: globals()[name] for name in __all__}


def as_metrics(metrics: Metrics) -> tuple[Metric, ...]:
    """Return `metrics` as a tuple: ``vnb.metrics.exact`` and ``"exact"`` are ``exact()``."""
    items = [metrics] if isinstance(metrics, str) or callable(metrics) else metrics
    chosen = tuple(map(_as_metric, check_list("metrics", items, "a metric or a list of metrics")))
    names = [metric.name for metric in chosen]
    for name in names:
        if names.count(name) > 1:
            msg = f"{names.count(name)} metrics are called {name}: give Metric(fn, name=...)"
            raise InputError(msg)
    return chosen


def _as_metric(metric: One) -> Metric:
    if isinstance(metric, Metric):
        return metric
    made = _BUILT_IN.get(metric) if isinstance(metric, str) else metric
    if made is None:
        msg = f"there is no metric {metric!r}{available(__all__)}"
        raise InputError(msg)
    if not callable(made):
        refuse("metrics", metric, "a metric, its name, a function of a run, or a list of these")
    if made not in _BUILT_IN.values():
        return Metric(made)  # a function of a run
    try:
        return made()  # type: ignore[return-value]  # one of ours
    except TypeError:
        name = made.__name__
        msg = f"vnb.metrics.{name} has required arguments: give vnb.metrics.{name}(...)"
        raise InputError(msg) from None
