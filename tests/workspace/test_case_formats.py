"""Cases of other tools: read by `vnb.read_cases`, written by a case set."""

import json
import sys

import pytest

import vellum_nb as vnb
from vellum_nb.errors import InputError, VellumNBError

TESTS = b"""
description: triage
tests:
  - description: charged twice
    vars: {ticket: I was charged twice}
    assert:
      - {type: equals, value: billing}
      - {type: contains, value: bill}
    metadata: {segment: free}
  - vars: {ticket: It crashes}
"""
CASES = [
    {"ticket": "I was charged twice", "expected.category": "billing", "channel": "chat"},
    {"ticket": "It crashes"},
]


@pytest.fixture(scope="module")
def suite():
    with vnb.connect("local", history=":memory:") as ws:
        made = ws.case_set("billing", deployment="ticket-triage")
        made.add(CASES)
        yield made


def test_tests_of_promptfoo_are_cases():
    frame = vnb.read_cases(TESTS, output="category").fillna("")
    assert frame.to_dict("records") == [
        {
            "input.ticket": "I was charged twice",
            "expected.category": "billing",
            "label.segment": "free",
            "label.description": "charged twice",
            "label.contains": '["bill"]',
        },
        {
            "input.ticket": "It crashes",
            "expected.category": "",
            "label.segment": "",
            "label.description": "",
            "label.contains": "",
        },
    ]


@pytest.mark.parametrize("key", ["ideal", "target"])
def test_samples_are_cases(key, tmp_path):
    path = tmp_path / "samples.jsonl"
    lines = [{"input": "Help", key: "bug"}, {"input": "Hi", key: ["a", "b"]}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    frame = vnb.read_cases(path, input="ticket", output="category").fillna("")
    assert frame.to_numpy().tolist() == [["Help", "bug"], ["Hi", ""]]
    assert list(frame) == ["input.ticket", "expected.category"]


def test_one_sample_is_a_case():
    assert vnb.read_cases(b'{"input": "Help"}').to_dict("records") == [{"input.input": "Help"}]


def test_text_is_not_a_path_of_cases():
    with pytest.raises(InputError, match=r"source must be a pathlib\.Path"):
        vnb.read_cases("tests.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "format is unknown"),
        (b"3", "format is unknown"),
        (b'{"tests": "file://tests.csv"}', "format is unknown"),
        (b"[]", "must have 1 to 1,000,000 cases"),
        (b'[{"vars": "file://vars.json"}]', "test 1 has neither 'vars' nor 'input'"),
        (b"[" * 100_000, "cannot be read"),
        (b"- " * 100_000, "cannot be read"),
        (b"tests: &a [1]\nmore: *a\n", "YAML aliases"),
        (b"tests: !!python/object:os.system {}\n", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_other_content_is_an_error(content, message):
    with pytest.raises(InputError, match=message):
        vnb.read_cases(content)


def test_yaml_without_its_extra_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(InputError, match=r"pip install 'vellum-nb\[yaml\]', or save it as JSON"):
        vnb.read_cases(b"tests:\n- vars: {ticket: Help}\n")


def test_case_set_is_written_for_promptfoo(suite, tmp_path):
    path = suite.to_promptfoo(tmp_path / "tests.json")
    assert json.loads(path.read_text()) == [
        {
            "vars": {"ticket": "I was charged twice"},
            "assert": [{"type": "equals", "value": "billing"}],
            "metadata": {"channel": "chat"},
        },
        {"vars": {"ticket": "It crashes"}},
    ]


def test_written_tests_are_the_same_cases(suite, tmp_path):
    frame = vnb.read_cases(suite.to_promptfoo(tmp_path / "tests.json"), output="category")
    assert suite.add(frame).duplicates == len(CASES)


def test_case_set_is_written_for_inspect(suite, tmp_path):
    lines = suite.to_inspect(tmp_path / "cases.jsonl").read_text().splitlines()
    first, second = map(json.loads, lines)
    assert (first["input"], first["target"]) == ("I was charged twice", "billing")
    assert first["metadata"]["channel"] == "chat"
    assert "target" not in second


def test_api_key_is_not_exported(tmp_path, monkeypatch):
    monkeypatch.setenv("VELLUM_API_KEY", "a-very-secret-key-1234567")
    with vnb.connect("local", history=":memory:") as ws:
        made = ws.case_set("leak", deployment="ticket-triage")
        made.add([{"ticket": "a-very-secret-key-1234567"}])
        with pytest.raises(VellumNBError, match="would contain the API key"):
            made.to_promptfoo(tmp_path / "tests.json")
    assert list(tmp_path.iterdir()) == []


def test_conversations_are_not_exported(tmp_path):
    with vnb.connect("local", history=":memory:") as ws:
        made = ws.case_set("talks", deployment="support-bot")
        made.add([{"turns": [{"message": "Hello"}, {"message": "Where is my order?"}]}])
        with pytest.raises(InputError, match="which only to_csv can write"):
            made.to_inspect(tmp_path / "cases.jsonl")
