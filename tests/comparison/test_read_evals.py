"""`vnb.read_evals`: results of other tools as frames to compare."""

import json
import re
import zipfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import hypothesis.strategies as st
import pandas as pd
import pytest
from hypothesis import given

import vellum_nb as vnb
from vellum_nb.errors import InputError, VellumNBError

FILES = Path(__file__).parent / "evals"


def values(frame, *columns):
    return frame[list(columns)].astype("object").to_numpy().tolist()


def archive(members, compression=zipfile.ZIP_DEFLATED):
    content = BytesIO()
    with zipfile.ZipFile(content, "w", compression) as file:
        for name, text in members.items():
            file.writestr(name, text)
    return content.getvalue()


def test_promptfoo_results_have_a_row_per_case_and_provider():
    frame = vnb.read_evals(FILES / "promptfoo.json")
    assert values(frame, "release_tag", "input.ticket", "output.output", "expected.output")[:3] == [
        ["model-a", "I was charged twice", "billing", "billing"],
        ["model-b", "I was charged twice", "billing", "billing"],
        ["model-a", "The app does not start", "billing", "bug"],
    ]
    assert frame["metric.pass"].tolist()[:4] == [True, True, False, True]
    assert frame["metric.score"].tolist()[:4] == [1.0, 1.0, 0.5, 1.0]
    assert frame["latency_s"].tolist()[0] == 0.043
    assert frame["label.segment"].tolist()[0] == "free"


def test_failed_call_of_promptfoo_is_a_failed_run():
    last = vnb.read_evals(FILES / "promptfoo.json").iloc[-1]
    assert last["state"] == "FAILED"
    assert last["error_message"].startswith("RateLimitExhaustedError: Rate limit exceeded")
    assert pd.isna(last["metric.pass"])


def test_failed_assertion_of_promptfoo_is_an_answer():
    row = vnb.read_evals(FILES / "promptfoo.json").iloc[2]
    assert (row["state"], row["metric.pass"]) == ("FULFILLED", False)


def test_providers_of_promptfoo_are_compared_by_its_scores():
    cmp = vnb.compare(vnb.read_evals(FILES / "promptfoo.json"), baseline="model-a")
    assert [metric.name for metric in cmp.metrics] == ["pass", "score", "category", "short"]
    result = cmp.result("model-b", "pass")
    assert (result.better, result.worse, result.same, result.missing) == (1, 0, 1, 1)


@pytest.mark.parametrize("name", ["inspect-b.eval", "inspect-b.json"])
def test_inspect_logs_are_read(name):
    frame = vnb.read_evals(FILES / name)
    assert values(frame, "label.id", "input.input", "output.output", "metric.match") == [
        [3, "Primary colours?", "green", 0.0],
        ["fr", "Capital of France?", "Paris", 1.0],
        ["pe", "Capital of Peru?", "Lima", 1.0],
    ]
    assert frame["metric.style.polite"].tolist() == [0.5, 0.5, 0.5]
    assert frame["expected.output"].isna().tolist() == [True, False, False]  # one has two targets
    assert frame["cost_usd"].tolist() == [0.25, 0.25, 0.25]


def test_two_inspect_logs_are_compared():
    logs = [vnb.read_evals(FILES / f"inspect-{name}.eval") for name in "ab"]
    cmp = vnb.compare(pd.concat(logs))
    assert cmp.baseline == "mockllm/a"
    result = cmp.result("mockllm/b", "match")
    assert (result.better, result.worse, result.same) == (1, 1, 1)


def test_deepeval_run_is_read():
    frame = vnb.read_evals((FILES / "deepeval.json").read_bytes())
    columns = ("release_tag", "input.input", "metric.Exact Match", "metric.Short")
    assert values(frame, *columns) == [
        ["gpt-a", "I was charged twice", 1.0, 0.25],
        ["gpt-a", "The app does not start", 0.0, 0.25],
    ]


def test_openai_log_is_read():
    frame = vnb.read_evals(FILES / "openai-a.jsonl")
    assert values(frame, "release_tag", "output.output", "expected.output", "metric.match") == [
        ["gpt-a", "billing", "billing", True],
        ["gpt-a", "billing", "bug", False],
    ]
    assert json.loads(frame["input.input"][0])[1] == {
        "role": "user",
        "content": "I was charged twice",
    }


def test_text_is_not_a_path():
    with pytest.raises(InputError, match=r"source must be a pathlib\.Path"):
        vnb.read_evals(str(FILES / "promptfoo.json"))


@pytest.mark.parametrize("content", [b"", b"[]", b"a,b\n1,2\n", b'{"a": 1}', archive({"a": "b"})])
def test_unknown_format_names_the_supported_ones(content):
    with pytest.raises(InputError) as error:
        vnb.read_evals(content)
    for name in ("promptfoo", "Inspect AI", "DeepEval", "OpenAI evals"):
        assert name in str(error.value)


@pytest.mark.parametrize("path", sorted(FILES.glob("*[a-z].[ej]*")), ids=lambda path: path.name)
def test_damaged_file_is_an_input_error(path):
    content = path.read_bytes()
    for size in range(1, len(content), max(1, len(content) // 40)):
        damaged = content[:size], content[:size] + b"\xff\x00}" + content[size + 3 :]
        for one in damaged:
            try:
                vnb.read_evals(one)
            except InputError:
                continue


ATOMS = (
    st.none() | st.booleans() | st.floats() | st.text(max_size=20)
    | st.integers(-(10**20), 10**20)
    | st.sampled_from([10**400, "\0", "C", "inf", "2026-99-99", "2026-12-01T10:00:00Z", "model-a"])
)  # fmt: skip
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "value", "score", "role", "x"]), inner)
    ),
    max_leaves=5,
)
OF_PYTHON = re.compile(r"' object|argument|dtype|convert|iterable|subscript|hashable|\b_[A-Z]")


def places(value, path=()):
    """Return the paths of all parts of a JSON value."""
    items = dict(enumerate(value)) if isinstance(value, list) else value
    parts = items.items() if isinstance(items, dict) else ()
    return [path, *(place for key, part in parts for place in places(part, (*path, key)))]


def replaced(value, path, new):
    if not path:
        return new
    changed = value.copy()
    changed[path[0]] = replaced(value[path[0]], path[1:], new)
    return changed


@st.composite
def damaged_results(draw):
    """Return the content of a file of results with another value in one place."""
    text = draw(st.sampled_from(sorted(FILES.glob("*.json*")))).read_text()
    is_lines = text.startswith('{"spec"')
    parts = [json.loads(line) for line in (text.splitlines() if is_lines else [text])]
    at = draw(st.integers(0, len(parts) - 1))
    parts[at] = replaced(parts[at], draw(st.sampled_from(places(parts[at]))), draw(VALUES))
    content = "\n".join(map(json.dumps, parts))
    samples = parts[0].get("samples") if isinstance(parts[0], dict) else None
    if isinstance(samples, list) and draw(st.booleans()):
        members = {f"samples/{n}.json": json.dumps(one) for n, one in enumerate(samples)}
        return archive({"header.json": content, **members})
    return content.encode()


def outcome(content):
    """Return the message of the error, or an empty one after a comparison."""
    try:
        frame = vnb.read_evals(content)
    except InputError as error:
        return str(error)
    with suppress(VellumNBError):
        vnb.compare(frame).summary()
    return ""


@given(damaged_results())
def test_damaged_value_is_a_clear_error_or_a_frame_to_compare(content):
    message = outcome(content)
    assert not OF_PYTHON.search(message)
    assert len(message) < 500


@pytest.mark.parametrize(
    "content",
    [
        b'{"results": ' + b"[" * 100_000,
        b'{"results": {"results": 3}}',
        b'{"results": []}',
        b'{"eval": 3}',
        b'{"testCases": [{"metricsData": [3]}]}',
        b'{"testRunData": 3}',
        b'{"spec": 3}\n{"sample_id": 1}',
        b'{"eval": {"task": "t", "model": "m", "created": "2026-01-01"}, "samples": null}',
    ],
)
def test_wrong_structure_is_an_input_error(content):
    with pytest.raises(InputError):
        vnb.read_evals(content)


def test_archive_that_unpacks_to_too_much_is_refused():
    content = archive({"header.json": b" " * 100_000_001})
    assert len(content) < 1_000_000
    with pytest.raises(InputError, match="unpacks to more than"):
        vnb.read_evals(content)


def test_many_columns_are_refused():
    cases = [{"input": "a", "metricsData": [{"name": str(n), "score": 1} for n in range(3_000)]}]
    with pytest.raises(InputError, match="more than 2,000 columns"):
        vnb.read_evals(json.dumps({"testCases": cases}).encode())


def test_prompts_of_promptfoo_are_separate_releases():
    content = json.loads((FILES / "promptfoo.json").read_bytes())
    for at, result in enumerate(content["results"]["results"]):
        result |= {"promptId": f"p{at % 2}", "provider": "gpt"}
    content["results"]["prompts"] = [{"id": "p1", "label": "short", "raw": "Classify: {{ticket}}"}]
    frame = vnb.read_evals(json.dumps(content).encode())
    assert set(frame["release_tag"]) == {"gpt, prompt 1", "gpt, short"}
