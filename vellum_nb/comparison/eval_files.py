"""Results of promptfoo, Inspect AI, DeepEval and OpenAI evals as frames for `vellum_nb.compare`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias
from zipfile import ZipFile

from pydantic import AliasPath, Field, ValidationError
from pydantic_core import from_json

from vellum_nb.clock import micros
from vellum_nb.errors import InputError, VellumNBError
from vellum_nb.files import read_file, read_member
from vellum_nb.history import cell, frame_of_cells
from vellum_nb.lazy import pd
from vellum_nb.models.base import Moment, Reply
from vellum_nb.models.checks import cut, refuse
from vellum_nb.sqlite import Converting

_MAX_UNPACKED_BYTES = 1_000_000_000
_MAX_MEMBER_BYTES = 100_000_000
_MAX_MEMBERS = 200_000  # of an archive
_MAX_CELLS = 10_000_000
_MAX_COLUMNS = 2_000
_MAX_EPOCHS = 1_000_000
_INSPECT_GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_FIRST = (
    *("release_tag", "deployment", "timestamp", "state", "latency_s", "cost_usd", "repeat"),
    *("input.", "output.", "error_code", "error_message", "expected.", "label.", "metric."),
)
Row: TypeAlias = dict[str, Any]


def read_evals(source: Path | bytes) -> pd.DataFrame:
    """Read results of another evaluation tool into a frame for `vellum_nb.compare`.

    The format is detected from the content: promptfoo's ``results.json``, an Inspect AI log
    (``.eval`` or JSON), a DeepEval test run (JSON), or an OpenAI evals log (JSON lines). Each row
    is one answer: ``release_tag`` is the model or provider, ``metric.<name>`` are its scores.

    Parameters
    ----------
    source : pathlib.Path or bytes
        The file, or its content. Text is not accepted as a path. Logs that Inspect AI compressed
        with Zstandard need Python 3.14 or pyarrow (the extra ``parquet``).

    Returns
    -------
    DataFrame
        Columns as in ``history.frame()``, and ``expected.<output>``, ``label.<name>`` and
        ``metric.<name>``.

    Raises
    ------
    InputError
        The file cannot be read, is damaged or too large, or has none of the four formats.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> content = b'{"testCases": [{"input": "2+2", "actualOutput": "4", "metricsData": []}]}'
    >>> vnb.read_evals(content)[["release_tag", "input.input", "output.output"]].values.tolist()
    [['deepeval', '2+2', '4']]
    """
    if not isinstance(source, bytes | Path):
        refuse("source", source, "a pathlib.Path, such as Path('results.json'), or bytes")
    name = source.name if isinstance(source, Path) else "the content"
    with Converting(lambda exc: _error(exc, name)):
        return _frame(_rows(source if isinstance(source, bytes) else read_file(source)))


def _error(exc: Exception, name: str) -> VellumNBError | None:
    if isinstance(exc, VellumNBError):
        return None
    if isinstance(exc, ValidationError):
        first = exc.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        problem = first["msg"].partition(" or instance of ")[0]
        return InputError(f"{name} cannot be read: {cut(where)}: {problem}")
    return InputError(f"{name} cannot be read: {exc!s:.300}")


def _rows(content: bytes) -> list[Row]:
    """Return the rows of the detected format."""
    if content.startswith(b"PK"):
        return list(_inspect_archive(content))
    start = content.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start.startswith(b"{"):
        raise ValueError(_UNKNOWN)
    first = start.split(b"\n", 1)[0]
    if first.startswith(b'{"spec"'):
        return list(_openai_rows(start.splitlines()))
    value = from_json(start)
    for key, read in _READERS.items():
        if key in value:
            return list(read(value))
    raise ValueError(_UNKNOWN)


def _frame(rows: Sequence[Row]) -> pd.DataFrame:
    if not rows:
        msg = "it has no results; export it again with the results of each case"
        raise ValueError(msg)
    names = dict.fromkeys(name for row in rows for name in row)
    if len(names) > _MAX_COLUMNS or len(names) * len(rows) > _MAX_CELLS:
        size = f"{_MAX_COLUMNS:,} columns or {_MAX_CELLS:,} cells"
        msg = f"it has more than {size}; split it"
        raise ValueError(msg)
    columns = [
        n for part in _FIRST for n in names if f"{n.partition('.')[0]}{'.' * ('.' in n)}" == part
    ]
    return frame_of_cells({name: [cell(row.get(name)) for row in rows] for name in columns})


def _row(
    inputs: Mapping[str, Any],
    output: Any,
    *,
    metrics: Mapping[str, Any],
    error: str | None = None,
    expected: Any = None,
    labels: Mapping[str, Any] | None = None,
    **columns: Any,
) -> Row:
    """Return a row of the frame, without missing values."""
    target = _only(expected)
    row = columns | {f"input.{name}": value for name, value in inputs.items()}
    row |= {f"label.{k}": v for k, v in (labels or {}).items() if isinstance(v, str | int | float)}
    row |= {} if target is None else {"expected.output": target}
    if error is not None:
        failure = {"error_code": "EVAL_ERROR", "error_message": error}
        return {**row, "state": "FAILED", "output.output": None, **failure}
    figures = {f"metric.{name}": _figure(value) for name, value in metrics.items()}
    row |= {name: figure for name, figure in figures.items() if figure is not None}
    return {**row, "state": "FULFILLED", "output.output": output}


def _only(expected: Any) -> Any:
    """Return the expected value; several alternatives are none, as only the tool can test them."""
    if not isinstance(expected, list):
        return expected
    return expected[0] if len(expected) == 1 else None


def _figure(value: Any) -> bool | float | None:
    """Return a score as a bool or a finite number, None for other values."""
    value = _INSPECT_GRADES.get(value, value) if isinstance(value, str) else value
    if isinstance(value, bool):
        return value
    is_number = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if is_number else None


def _conversation(value: Any) -> Any:
    """Return messages as roles and contents, because their ids differ from run to run."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        return value
    if len(value) == 1 and isinstance(value[0].get("content"), str):
        return value[0]["content"]
    return [{"role": one.get("role"), "content": one.get("content")} for one in value]


class _PromptfooResult(Reply):
    provider: str | dict[str, Any]
    prompt_id: str = Field("", alias="promptId")
    place: int = Field(0, alias="testIdx")
    prompt_place: int = Field(0, alias="promptIdx")
    vars: dict[str, Any] = Field({})
    output: Any = Field(None, validation_alias=AliasPath("response", "output"))
    error: str | None = None
    failure_reason: int = Field(0, alias="failureReason")  # 1 an assertion, 2 an error
    success: bool | None = None
    score: float | None = None
    scores: dict[str, Any] = Field({}, alias="namedScores")
    latency_ms: float = Field(0, alias="latencyMs")
    cost: float | None = None
    test: dict[str, Any] = Field({}, alias="testCase")


class _PromptfooPrompt(Reply):
    id: str = ""
    label: str = ""
    raw: str = ""


class _Promptfoo(Reply):
    results: list[_PromptfooResult]
    prompts: list[_PromptfooPrompt] = Field([])
    timestamp: Moment | None = None


def _promptfoo_rows(value: Mapping[str, Any]) -> Iterator[Row]:
    made = _Promptfoo.model_validate(value["results"])
    config = value.get("config")
    name = config.get("description") if isinstance(config, dict) else None
    results = sorted(made.results, key=lambda one: (one.place, one.prompt_place))
    ids = dict.fromkeys(one.prompt_id for one in results)
    prompts = {id_: f"prompt {number}" for number, id_ in enumerate(ids, 1)}
    prompts |= {p.id: p.label for p in made.prompts if p.id in prompts and p.label != p.raw}
    for one in results:
        failed = one.failure_reason == 2 or (one.output is None and one.error is not None)  # noqa: PLR2004
        yield _row(
            one.vars,
            one.output,
            release_tag=_promptfoo_release(one, prompts),
            deployment=str(name or "promptfoo"),
            latency_s=one.latency_ms / 1000,
            cost_usd=one.cost,
            timestamp=made.timestamp and micros(made.timestamp),
            error=(one.error or "no output") if failed else None,
            expected=_equals(one.test.get("assert")),
            labels=one.test.get("metadata"),
            metrics={"pass": one.success, "score": one.score, **one.scores},
        )


def _promptfoo_release(result: _PromptfooResult, prompts: Mapping[str, str]) -> str:
    """Return the provider, and the prompt if there are several."""
    provider = result.provider
    if isinstance(provider, dict):
        provider = str(provider.get("label") or provider.get("id") or "provider")
    return provider if len(prompts) == 1 else f"{provider}, {cut(prompts[result.prompt_id])}"


def _equals(assertions: Any) -> Any:
    """Return the value of the only assertion ``equals``."""
    tests = [one for one in assertions or () if isinstance(one, dict)]
    values = [one.get("value") for one in tests if one.get("type") == "equals"]
    return values[0] if len(values) == 1 else None


class _InspectUsage(Reply):
    total_cost: float | None = None


class _InspectSample(Reply):
    id: str | int
    epoch: int = Field(1, ge=1, le=_MAX_EPOCHS)
    input: Any
    target: Any = None
    output: Any = Field(None, validation_alias=AliasPath("output", "completion"))
    error: dict[str, Any] = Field({})
    scores: dict[str, Any] = Field({})
    metadata: dict[str, Any] = Field({})
    model_usage: dict[str, _InspectUsage] = Field({})
    working_time: float | None = None
    started_at: Moment | None = None


class _InspectLog(Reply):
    task: str = Field(validation_alias=AliasPath("eval", "task"))
    model: str = Field(validation_alias=AliasPath("eval", "model"))
    created: Moment = Field(validation_alias=AliasPath("eval", "created"))
    samples: list[_InspectSample] = Field([])


def _inspect_rows(log: _InspectLog, samples: Iterable[_InspectSample]) -> Iterator[Row]:
    for sample in samples:
        costs = [usage.total_cost or 0.0 for usage in sample.model_usage.values()]
        yield _row(
            {"input": _conversation(sample.input)},
            sample.output,
            release_tag=log.model,
            deployment=log.task,
            repeat=sample.epoch - 1,
            timestamp=micros(sample.started_at or log.created),
            latency_s=sample.working_time,
            cost_usd=sum(costs) or None,
            error=str(sample.error.get("message")) if sample.error else None,
            expected=sample.target,
            labels={**sample.metadata, "id": sample.id},
            metrics=dict(_inspect_scores(sample.scores)),
        )


def _inspect_scores(scores: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, score in scores.items():
        value = score.get("value") if isinstance(score, dict) else score
        if isinstance(value, dict):
            yield from ((f"{name}.{part}", figure) for part, figure in value.items())
        else:
            yield name, value


def _inspect_json(value: Mapping[str, Any]) -> Iterator[Row]:
    log = _InspectLog.model_validate(value)
    return _inspect_rows(log, sorted(log.samples, key=lambda one: (str(one.id), one.epoch)))


def _inspect_archive(content: bytes) -> Iterator[Row]:
    """Yield the rows of a ``.eval`` log, a zip of its header and samples, one at a time."""
    if content.count(b"PK\x01\x02") > _MAX_MEMBERS:
        msg = f"it has more than {_MAX_MEMBERS:,} members"
        raise ValueError(msg)
    with ZipFile(BytesIO(content)) as archive:
        left = _MAX_UNPACKED_BYTES
        members = {info.filename: info for info in archive.infolist()}
        start = members.get("header.json", members.get("_journal/start.json"))
        if start is None:
            raise ValueError(_UNKNOWN)
        header = read_member(content, archive, start, _MAX_MEMBER_BYTES)
        log = _InspectLog.model_validate_json(header)
        for name in sorted(members):
            if name.startswith("samples/") and name.endswith(".json"):
                limit = min(left, _MAX_MEMBER_BYTES)
                data = read_member(content, archive, members[name], limit)
                left -= len(data)
                yield from _inspect_rows(log, [_InspectSample.model_validate_json(data)])


class _DeepEvalCase(Reply):
    name: str = ""
    input: Any = None
    output: Any = Field(None, alias="actualOutput")
    expected: Any = Field(None, alias="expectedOutput")
    context: list[Any] | None = None
    metrics: list[dict[str, Any]] = Field([], alias="metricsData")
    success: bool | None = None
    cost: float | None = Field(None, alias="tokenCost")
    latency_s: float | None = Field(None, alias="completionTime")


class _DeepEval(Reply):
    cases: list[_DeepEvalCase] = Field([], alias="testCases")
    identifier: str | None = None
    hyperparameters: dict[str, Any] = Field({})


def _deepeval_rows(value: Mapping[str, Any]) -> Iterator[Row]:
    run = _DeepEval.model_validate(value.get("testRunData", value))
    for case in run.cases:
        context = {} if case.context is None else {"context": case.context}
        yield _row(
            {"input": case.input, **context},
            case.output,
            release_tag=str(run.hyperparameters.get("model") or run.identifier or "deepeval"),
            deployment="deepeval",
            latency_s=case.latency_s,
            cost_usd=case.cost,
            expected=case.expected,
            labels={"name": case.name},
            metrics={"pass": case.success}
            | {str(one.get("name")): one.get("score") for one in case.metrics},
        )


class _OpenAISpec(Reply):
    models: list[Any] = Field([], validation_alias=AliasPath("spec", "completion_fns"))
    name: str = Field("evals", validation_alias=AliasPath("spec", "eval_name"))


class _OpenAIEvent(Reply):
    sample_id: str | None = None
    type: str = ""
    data: Any = None
    created_at: Moment | None = None


def _openai_rows(lines: Sequence[bytes]) -> Iterator[Row]:
    spec = _OpenAISpec.model_validate_json(lines[0])
    samples: dict[str, list[_OpenAIEvent]] = {}
    for number, line in enumerate(lines[1:], 2):
        if line.strip():
            try:
                event = _OpenAIEvent.model_validate_json(line)
            except ValidationError as exc:
                msg = f"line {number}: {exc.errors()[0]['msg']}"
                raise ValueError(msg) from None
            if event.sample_id is not None and isinstance(event.data, dict):
                samples.setdefault(event.sample_id, []).append(event)
    for events in samples.values():
        yield _openai_row(spec, events)


def _openai_row(spec: _OpenAISpec, events: Sequence[_OpenAIEvent]) -> Row:
    """Return the row of a sample; later ``sampling`` events are those of a grading model."""
    data: dict[str, dict[str, Any]] = {}
    for event in events:
        data.setdefault(event.type, event.data)
    sample, sampling, match = (data.get(t, {}) for t in ("raw_sample", "sampling", "match"))
    made = _only(sampling.get("sampled", match.get("sampled")))
    begun = events[0].created_at
    return _row(
        {"input": _conversation(sample.get("input", sampling.get("prompt")))},
        made,
        release_tag=", ".join(map(str, spec.models)) or "model",
        deployment=spec.name,
        timestamp=begun and micros(begun),
        error=str(data["error"]) if "error" in data and made is None else None,
        expected=sample.get("ideal", match.get("expected")),
        metrics={"match": match.get("correct"), **data.get("metrics", {})},
    )


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Iterator[Row]]] = {
    "testCases": _deepeval_rows,
    "testRunData": _deepeval_rows,
    "eval": _inspect_json,
    "results": _promptfoo_rows,
}
_UNKNOWN = (
    "its format is unknown; supported: promptfoo (results.json), Inspect AI (.eval or JSON), "
    "DeepEval (JSON of a test run) and OpenAI evals (JSON lines)"
)
