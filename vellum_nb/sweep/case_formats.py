"""Cases of promptfoo, Inspect AI and OpenAI evals: read as a frame, and written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from vellum_nb.errors import InputError, VellumNBError
from vellum_nb.files import read_file
from vellum_nb.history import cell, frame_of_cells, json_objects
from vellum_nb.lazy import pd
from vellum_nb.models.checks import check_text, refuse
from vellum_nb.models.sweeps import SweepCase
from vellum_nb.sqlite import Converting

_MAX_YAML_BYTES = 5_000_000  # the parser is slow
_MAX_ROWS, _MAX_COLUMNS = 1_000_000, 2_000
_UNKNOWN = (
    "its format is unknown; supported: promptfoo (an object with 'tests', or a list of tests, as "
    "JSON or YAML) and OpenAI evals or Inspect AI (JSON lines with 'input')"
)
Row = dict[str, Any]


def read_cases(
    source: Path | bytes,
    *,
    input: str = "input",  # noqa: A002
    output: str = "output",
) -> pd.DataFrame:
    """Read the test cases of another tool into a frame for `Workspace.sweep`.

    The format is detected from the content: the ``tests`` of promptfoo (JSON or YAML), or JSON
    lines of OpenAI evals (``input``, ``ideal``) or Inspect AI (``input``, ``target``).

    Parameters
    ----------
    source : pathlib.Path or bytes
        The file, or its content. Text is not accepted as a path. YAML needs the extra
        ``yaml``.
    input : str, default "input"
        The input variable for the ``input`` of JSON lines; promptfoo names its variables.
    output : str, default "output"
        The output for which the expected value is meant.

    Returns
    -------
    DataFrame
        Columns ``input.<name>``, ``expected.<output>`` if there is exactly one expected value, and
        ``label.<name>``: metadata, the description, and texts that promptfoo's ``contains``
        requires.

    Raises
    ------
    InputError
        The file cannot be read, is damaged or too large, or has another format.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> tests = b'[{"vars": {"ticket": "Help"}, "assert": [{"type": "equals", "value": "bug"}]}]'
    >>> vnb.read_cases(tests, output="category").to_dict("records")
    [{'input.ticket': 'Help', 'expected.category': 'bug'}]
    """
    if not isinstance(source, bytes | Path):
        refuse("source", source, "a pathlib.Path, such as Path('tests.json'), or bytes")
    check_text("input", input)
    check_text("output", output)
    name = source.name if isinstance(source, Path) else "the content"

    def convert(exc: Exception) -> InputError | None:
        is_ours = isinstance(exc, VellumNBError)
        return None if is_ours else InputError(f"{name} cannot be read: {exc!s:.300}")

    with Converting(convert):
        content = source if isinstance(source, bytes) else read_file(source)
        return _frame(list(_rows(content.decode("utf-8-sig"), input, output)))


def _frame(rows: Sequence[Row]) -> pd.DataFrame:
    names = dict.fromkeys(name for row in rows for name in row)
    if not rows or len(rows) > _MAX_ROWS or len(names) > _MAX_COLUMNS:
        msg = f"it must have 1 to {_MAX_ROWS:,} cases and at most {_MAX_COLUMNS:,} columns"
        raise ValueError(msg)
    order = sorted(names, key=lambda name: ("input", "expected", "label").index(name.split(".")[0]))
    return frame_of_cells({name: [cell(row.get(name)) for row in rows] for name in order})


def _rows(text: str, input_name: str, output: str) -> Iterator[Row]:
    value = _parsed(text)
    if isinstance(value, dict):
        value = [value] if "input" in value else value.get("tests")
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError(_UNKNOWN)
    for number, one in enumerate(value, 1):
        if "input" in one:
            yield _sample_row(one, input_name, output)
        elif isinstance(one.get("vars"), dict):
            yield _test_row(one, output)
        else:
            msg = (
                f"test {number} has neither 'vars' nor 'input'; give its values in the file itself"
            )
            raise ValueError(msg)


def _parsed(text: str) -> Any:
    """Return the value of JSON, JSON lines, or YAML."""
    start = text.lstrip()[:1]
    try:
        return json.loads(text)
    except ValueError:
        if start == "{":
            return list(json_objects(StringIO(text)))
        if start == "[":
            raise
    return _yaml(text)


def _yaml(text: str) -> Any:
    """Return the value of YAML; aliases are refused, because they can expand without limit."""
    if len(text) > _MAX_YAML_BYTES:
        msg = f"it has more than {_MAX_YAML_BYTES // 10**6} MB of YAML; save it as JSON"
        raise ValueError(msg)
    try:
        import yaml
    except ImportError:
        msg = "it is YAML, which needs PyYAML: pip install 'vellum-nb[yaml]', or save it as JSON"
        raise ValueError(msg) from None
    if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
        msg = "it has YAML aliases; save it as JSON"
        raise ValueError(msg)
    return yaml.safe_load(text)


def _test_row(test: Mapping[str, Any], output: str) -> Row:
    """Return a test of promptfoo as a row."""
    asserts = [one for one in test.get("assert") or () if isinstance(one, dict)]
    values: dict[str, list[Any]] = {"equals": [], "contains": []}
    for one in asserts:
        values.setdefault(str(one.get("type")), []).append(one.get("value"))
    labels = test.get("metadata")
    row = {f"input.{name}": value for name, value in test["vars"].items()}
    row |= {f"label.{k}": v for k, v in (labels if isinstance(labels, dict) else {}).items()}
    row |= {"label.description": test["description"]} if test.get("description") else {}
    row |= {"label.contains": values["contains"]} if values["contains"] else {}
    return row | ({f"expected.{output}": values["equals"][0]} if len(values["equals"]) == 1 else {})


def _sample_row(sample: Mapping[str, Any], input_name: str, output: str) -> Row:
    """Return a sample of OpenAI evals or Inspect AI as a row."""
    expected = sample.get("ideal", sample.get("target"))
    if isinstance(expected, list):
        expected = expected[0] if len(expected) == 1 else None
    labels = sample.get("metadata")
    row = {f"input.{input_name}": sample["input"]}
    row |= {f"label.{k}": v for k, v in (labels if isinstance(labels, dict) else {}).items()}
    row |= {"label.id": sample["id"]} if "id" in sample else {}
    return row | ({} if expected is None else {f"expected.{output}": expected})


def promptfoo_tests(cases: Iterable[SweepCase]) -> str:
    """Return the cases as a JSON list of promptfoo's tests.

    One expected output is the value of ``equals``; several are an object, as their output is.
    """
    tests: list[Row] = []
    for case in cases:
        test: Row = {"vars": dict(case.inputs)}
        if case.expected:
            test["assert"] = [{"type": "equals", "value": _single(case.expected)}]
        tests.append(test | ({"metadata": dict(case.labels)} if case.labels else {}))
    return json.dumps(tests, ensure_ascii=False, indent=2) + "\n"


def inspect_samples(cases: Iterable[SweepCase]) -> str:
    """Return the cases as JSON lines of Inspect AI's samples, whose input and target are text."""
    lines = []
    for case in cases:
        sample: Row = {"id": case.case_id, "input": _text(_single(case.inputs))}
        sample |= {"target": _text(_single(case.expected))} if case.expected else {}
        metadata = {**case.labels, "inputs": dict(case.inputs), "expected": dict(case.expected)}
        lines.append(json.dumps({**sample, "metadata": metadata}, ensure_ascii=False))
    return "".join(f"{line}\n" for line in lines)


def _single(values: Mapping[str, Any]) -> Any:
    return next(iter(values.values())) if len(values) == 1 else dict(values)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
