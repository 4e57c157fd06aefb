import base64
import enum
import json
import math
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vellum_nb.errors import InputError
from vellum_nb.models import VellumVariable, canonical_json, case_id
from vellum_nb.models.inputs import (
    default_of,
    infer_type,
    plain,
    to_wire,
    value_problem,
)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
PNG_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
LOOK = [{"type": "STRING", "value": "look"}, {"type": "IMAGE", "value": {"src": PNG_URL}}]
PDF = {"src": "https://example.com/a.pdf", "metadata": {"expiry_seconds": 60}}


def variable(type_="STRING", *, key="x", **more):
    return VellumVariable(key=key, type=type_, **more)


def sent(value, type_, **more):
    (only,) = to_wire({"x": value}, [variable(type_, **more)])
    return only.value


class Tone(enum.StrEnum):
    FORMAL = "formal"


@dataclass
class Address:
    street: str


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        ("STRING", "é", "é"),
        ("STRING", Tone.FORMAL, "formal"),
        ("STRING", np.str_("a"), "a"),
        ("STRING", date(2026, 1, 2), "2026-01-02"),
        ("NUMBER", 3, 3),
        ("NUMBER", 2.5, 2.5),
        ("NUMBER", np.int64(3), 3),
        ("NUMBER", np.float32(0.5), 0.5),
        ("NUMBER", pd.Series([7]).iloc[0], 7),
        ("JSON", {"a": [1, None, True]}, {"a": [1, None, True]}),
        ("JSON", None, None),
        ("JSON", np.bool_(1), True),
        ("JSON", np.array([1, 2]), [1, 2]),
        ("JSON", Address("Main"), {"street": "Main"}),
        ("JSON", UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ("JSON", pd.Timestamp("2026-01-02"), "2026-01-02T00:00:00"),
        ("ARRAY", (1, 2), [1, 2]),
        ("CHAT_HISTORY", [], []),
        ("CHAT_HISTORY", [("user", "hi")], [{"role": "USER", "text": "hi"}]),
        ("CHAT_HISTORY", [["user", "hi"]], [{"role": "USER", "text": "hi"}]),
        ("CHAT_HISTORY", [{"role": "user", "content": "hi"}], [{"role": "USER", "text": "hi"}]),
        (
            "CHAT_HISTORY",
            [{"role": "USER", "content": ["look", {"type": "IMAGE", "value": PNG}]}],
            [{"role": "USER", "content": {"type": "ARRAY", "value": LOOK}}],
        ),
        ("IMAGE", PNG, {"src": PNG_URL}),
        ("IMAGE", "https://example.com/a.png", {"src": "https://example.com/a.png"}),
        ("IMAGE", PNG_URL, {"src": PNG_URL}),
        ("DOCUMENT", "vellum:uploaded-file:7", {"src": "vellum:uploaded-file:7"}),
        ("DOCUMENT", PDF, PDF),
        ("AUDIO", "data:audio/mp3;base64,AAAA", {"src": "data:audio/mp3;base64,AAAA"}),
    ],
)
def test_natural_values_are_converted_to_the_contract(type_, value, expected):
    assert sent(value, type_) == expected
    assert json.loads(canonical_json(sent(value, type_))) == expected


def test_a_file_is_sent_as_a_data_url(tmp_path):
    path = tmp_path / "dot.png"
    path.write_bytes(PNG)
    assert sent(path, "IMAGE") == {"src": PNG_URL}
    assert sent({"src": path}, "IMAGE") == {"src": PNG_URL}


@pytest.mark.parametrize("type_", ["IMAGE", "AUDIO", "VIDEO", "DOCUMENT"])
def test_text_that_names_a_file_is_refused(tmp_path, type_):
    path = tmp_path / "dot.png"
    path.write_bytes(PNG)
    problem = value_problem(str(path), variable(type_))
    assert problem is not None
    assert "text, which is never read as a path; give pathlib.Path(...)" in problem
    assert "files='folder'" in problem


@pytest.mark.parametrize(
    ("type_", "value", "sentence"),
    [
        ("STRING", 7, "the number 7 is given; text is expected"),
        ("STRING", b"a", "the bytes b'a' is given; text is expected"),
        ("STRING", None, "a value is required: text"),
        ("STRING", "\ud800", "half of a surrogate pair"),
        ("NUMBER", "7", "the text '7' is given; a number is expected"),
        ("NUMBER", True, "the bool True is given; a number is expected"),
        ("NUMBER", math.nan, "is not a number (NaN)"),
        ("NUMBER", math.inf, "is infinite"),
        ("NUMBER", pd.NA, "a value is missing (<NA>)"),
        ("JSON", {"a": [math.nan]}, "is not a number (NaN)"),
        ("JSON", {1: 2}, "keys must be text"),
        ("JSON", {1, 2}, "the set {1, 2} cannot be written as JSON"),
        ("ARRAY", {"a": 1}, "the dict {'a': 1} is given; a list is expected"),
        ("FUNCTION_CALL", [], "a dict is expected"),
        ("CHAT_HISTORY", "hi", "the text 'hi' is not a list of messages"),
        ("CHAT_HISTORY", ("user", "hi"), "is not a list of messages"),
        ("CHAT_HISTORY", [("bot", "hi")], "message 1 has the role 'bot'; it must be one of SYSTEM"),
        ("CHAT_HISTORY", [("user", "hi"), 3], "message 2 is the number 3"),
        ("CHAT_HISTORY", [{"role": "USER", "text": 3}], "message 1 has the number 3 as its text"),
        ("CHAT_HISTORY", [{"role": "USER", "content": {"type": "X"}}], "its type must be one of"),
        ("CHAT_HISTORY", [{"role": "USER", "content": {"type": "ARRAY"}}], "ARRAY of None; a list"),
        ("CHAT_HISTORY", [{"role": "USER", "content": {"type": "STRING", "value": 3}}], "number 3"),
        ("IMAGE", "no-such-file.png", "is text, which is never read as a path"),
        ("IMAGE", Path("no-such-file.png"), "cannot be read: No such file"),
        ("IMAGE", b"%PDF-1.7", "the content is application/pdf; image is expected"),
        ("AUDIO", b"what", "these 4 bytes are not a known audio"),
        ("VIDEO", 3, "3 is not a valid video; give a pathlib.Path, bytes"),
        ("IMAGE", {"src": "etc/passwd"}, "src 'etc/passwd' is not a data:"),
        ("IMAGE", {"url": "x"}, 'has no "src"'),
        ("IMAGE", {"src": PNG_URL, "metadata": 3}, '"metadata" is 3; a dict is expected'),
        ("DOCUMENT", "data:text/plain", "has no comma"),
    ],
)
def test_invalid_value_is_reported(type_, value, sentence):
    problem = value_problem(value, variable(type_))
    assert problem is not None
    assert sentence in problem


@pytest.mark.parametrize(
    ("schema", "value", "sentence"),
    [
        ({"maximum": 72}, 200, "200 is more than the maximum of 72"),
        ({"minimum": 1}, 0, "0 is less than the minimum of 1"),
        ({"type": "integer"}, 1.5, "1.5 is given; a whole number is expected"),
        ({"type": "boolean"}, "yes", "'yes' is given; true or false is expected"),
        ({"enum": ["a", "b"]}, "c", "'c' is not one of 'a', 'b'"),
        ({"required": ["a"]}, {}, "'a' is missing"),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, 3, "3 is not one of: null, text"),
        ({"properties": {"a": {"minLength": 2}}}, {"a": "x"}, "at a: 'x' is shorter than 2"),
        ({"items": {"type": "string"}}, [1, 2, 3, 4], "and 1 more"),
        ({"type": "array", "uniqueItems": True}, [1, 1], "non-unique"),
    ],
)
def test_value_outside_the_schema_is_reported(schema, value, sentence):
    problem = value_problem(value, variable("JSON", schema=schema))
    assert problem is not None
    assert sentence in problem


@pytest.mark.parametrize(
    "schema",
    [{"type": 3}, {"$ref": "http://127.0.0.1:9/schema.json"}, {"$ref": "#"}, {"pattern": "("}],
)
def test_invalid_or_remote_schema_is_ignored(schema):
    assert value_problem({"a": 1}, variable("JSON", schema=schema)) is None
    assert value_problem("text", variable("STRING", schema=schema)) is None


def test_all_problems_are_reported():
    variables = [variable(key="ticket"), variable("NUMBER", key="n", required=False)]
    with pytest.raises(InputError) as caught:
        to_wire({"tickt": "a", "n": "3"}, variables, where="ticket-triage v2")
    assert [problem.variable for problem in caught.value.problems] == ["ticket", "n", "tickt"]
    assert "The inputs do not fit ticket-triage v2; nothing was sent:" in str(caught.value)
    assert "available: ticket, n. Did you mean ticket?" in str(caught.value)


@pytest.mark.parametrize("inputs", [{}, {"a": None, "b": None, "flag": None}])
def test_optional_input_can_be_absent_or_none(inputs):
    variables = [
        variable(key="a", required=False),
        variable(key="b", default={"type": "STRING", "value": "d"}),
        variable("JSON", key="flag", required=False, schema={"type": "boolean"}),
    ]
    assert to_wire(inputs, variables) == []


def test_circular_value_is_refused():
    loop = []
    loop.append(loop)
    assert "contains itself" in str(value_problem(loop, variable("JSON")))


def test_none_is_a_value_of_json():
    (only,) = to_wire({"x": None}, [variable("JSON")])
    assert (only.type, only.value) == ("JSON", None)
    assert value_problem(None, variable("JSON", schema={"type": "boolean"})) is not None


@pytest.mark.parametrize("type_", ["ARRAY", "SEARCH_RESULTS", "SOMETHING_NEW"])
def test_types_without_an_input_are_sent_as_json(type_):
    (only,) = to_wire({"x": []}, [variable(type_)])
    assert only.type == "JSON"


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        ("a", "STRING"),
        (3, "NUMBER"),
        (True, "JSON"),
        (None, "JSON"),
        ([], "JSON"),
        ([("user", "hi")], "CHAT_HISTORY"),
        ([{"role": "USER", "text": "hi"}], "CHAT_HISTORY"),
        ([{"role": "admin", "text": "hi"}], "JSON"),
        (PNG, "IMAGE"),
        (b"\0\0\0\x1cftypavif", "IMAGE"),
        (Path("a.mp3"), "AUDIO"),
        (b"%PDF-1.7", "DOCUMENT"),
        ({"src": "data:video/mp4;base64,AA"}, "VIDEO"),
        ({"src": "https://example.com/a.png?x=1"}, "IMAGE"),
        ({"src": "vellum:uploaded-file:7"}, "DOCUMENT"),
        ({"src": "https://example.com/a", "other": 1}, "JSON"),
    ],
)
def test_without_variables_types_are_inferred(value, type_):
    assert infer_type(value) == type_
    with pytest.raises(InputError, match="NaN"):
        to_wire({"x": value, "y": math.nan}, None)


def test_equal_inputs_have_the_same_case_id():
    assert default_of(variable("NUMBER", default={"type": "NUMBER", "value": 3})) == 3
    assert default_of(variable()) is None
    natural = {"chat": [("user", "hi")], "n": np.int64(3)}
    as_sent = {"n": 3, "chat": [{"role": "USER", "text": "hi"}]}
    assert case_id({k: plain(v) for k, v in natural.items()}) == case_id(as_sent)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)
TYPES = st.sampled_from(["STRING", "NUMBER", "JSON", "CHAT_HISTORY", "IMAGE", "ARRAY", "NEW"])


@given(value=JSON_VALUES | st.binary(), type_=TYPES)
def test_any_value_is_refused_or_sent_as_json(value, type_):
    problem = value_problem(value, variable(type_))
    if problem is not None:
        assert problem
        assert len(problem) < 300
        problem.encode()
        return
    for item in to_wire({"x": value}, [variable(type_)]):
        canonical_json(item.value).encode()


@given(JSON_VALUES)
def test_plain_value_is_unchanged(value):
    try:
        once = plain(value)
    except InputError:
        return
    assert plain(once) == once
