"""POST /v1/execute-workflow: what runs, what does not, and what is answered."""

import pytest
from execution_kit import inputs, outputs

CHAT = [{"role": "USER", "text": "hi"}, {"role": "ASSISTANT", "text": None, "metadata": {"a": 1}}]
SOURCE = {"src": "data:text/plain;base64,aGk=", "metadata": {"page": 1}}


def test_a_stacktrace_names_files_without_folders(api):
    trace = api.run("fail", text=("STRING", "x"))["error"]["stacktrace"]
    lines = trace.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].startswith('  File "conftest.py", line ')
    assert lines[1].endswith("in fail")
    assert lines[2:] == ["    raise KeyError(text)", "KeyError: 'x'"]


def test_inputs_arrive_as_the_types_of_the_parameters(api):
    given = {"flag": True, "tier": "pro", "colour": "green", "data": {"a": [1, None]}}
    data = api.run("typed", number=("NUMBER", 3), **{n: ("JSON", v) for n, v in given.items()})
    assert outputs(data) == {
        "number": "float 3.0",
        "flag": "bool True",
        "tier": "str 'pro'",
        "colour": "Colour <Colour.GREEN: 'green'>",
        "data": "dict {'a': [1, None]}",
    }


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("streamed-later", {"text": ("STRING", "abc")}, {"first": "abc", "second": "ABC"}),
        ("count", {"text": ("STRING", "a"), "times": ("NUMBER", 2.0)}, {"text": "a a", "words": 2}),
        ("typed", {}, {"tier": "str 'free'"}),
        ("typed", {"data": ("JSON", None)}, {"data": "NoneType None"}),
        ("every-type", {"chat": ("JSON", [])}, {"chat": []}),
    ],
)
def test_values_may_come_in_other_ways_or_not_at_all(api, name, values, expected):
    assert outputs(api.run(name, **values)).items() >= expected.items()


BAD_INPUTS = [
    ("echo", {"txt": ("STRING", "a"), "text": ("STRING", "a")}, "Unknown input variable 'txt'"),
    ("echo", {"text": ("NUMBER", 5)}, "'text' has the type NUMBER; STRING is expected"),
    ("echo", {"text": ("STRING", 5)}, "'text': text is expected"),
    ("count", {"text": ("STRING", "a"), "times": ("NUMBER", "2")}, "a number is expected"),
    ("count", {"text": ("STRING", "a"), "times": ("NUMBER", 2.5)}, "valid integer (given: 2.5)"),
    ("count", {"text": ("STRING", "a"), "times": ("NUMBER", 0)}, "greater than or equal to 1"),
    ("count", {"text": ("STRING", "a"), "times": ("NUMBER", 10**400)}, "'times'"),
    ("typed", {"tier": ("JSON", "gold")}, "'free' or 'pro' (given: \"gold\")"),
    ("every-type", {"chat": ("CHAT_HISTORY", [{"role": "ROBOT"}])}, "0.role"),
    ("every-type", {"chat": ("JSON", CHAT)}, "CHAT_HISTORY is expected"),
    ("media", {"image": ("IMAGE", "data:image/png;base64,")}, 'an object with "src"'),
    ("media", {"image": ("AUDIO", SOURCE)}, "IMAGE is expected"),
]


@pytest.mark.parametrize(("name", "values", "message"), BAD_INPUTS)
def test_wrong_inputs_are_400_with_the_reason(api, name, values, message):
    answer = api.send(workflow_deployment_name=name, inputs=inputs(**values))
    assert answer.status_code == 400
    assert message in answer.json()["detail"]


def test_all_problems_are_reported_at_once(api):
    wrong = inputs(times=("NUMBER", 9), nope=("JSON", 1)) + inputs(nope=("JSON", 1))
    detail = api.send(workflow_deployment_name="count", inputs=wrong).json()["detail"]
    for part in ("'text'", "'times'", "'nope'", "more than once"):
        assert part in detail


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "The body is not JSON"),
        (b"\xff\xfe\xfa", "The body is not JSON"),
        (b"[1]", "valid dictionary or object"),
        (b"null", "valid dictionary or object"),
        (b'{"inputs": NaN}', "JSON has no NaN"),
        (b'{"inputs": 1e999}', "too large"),
        (b"[" * 100_000, "nested too deeply"),
        (b"", "body: Field required"),
    ],
)
def test_what_is_no_json_object_is_400(api, body, message):
    answer = api.post(data=body)
    assert answer.status_code == 400
    assert message in answer.json()["detail"]
