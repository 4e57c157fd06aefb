"""Fields: conversion of values, invalid text, and messages."""

import pytest
from dom_kit import dom, text_of
from form_kit import classes, parts, variable
from ipywidgets.widgets.widget import _instances
from wire_kit import Page, Wire

from vellum_nb.widgets.fields import FieldSet
from vellum_nb.widgets.form import make_field

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16
TEXT = variable("x")
SHORT = variable("x", schema={"type": "string", "maxLength": 80})
NUMBER = variable("x", "NUMBER", schema={"type": "integer", "minimum": 1, "maximum": 72})
BOOL = variable("x", "JSON", schema={"type": "boolean"})
ENUM = variable("x", "JSON", schema={"type": "string", "enum": ["free", "pro"]}, required=False)
JSON = variable("x", "JSON", required=False)
CHAT = variable("x", "CHAT_HISTORY")
IMAGE = variable("x", "IMAGE", required=False)


@pytest.fixture
def changes():
    return []


@pytest.fixture
def field(request, changes, monkeypatch):
    monkeypatch.setattr("comm.create_comm", Wire)
    made = make_field(request.param, lambda: changes.append("changed"))
    yield made
    made.close()


@pytest.fixture
def fields():
    made = FieldSet(make_field, lambda: None)
    yield made
    made.close()


def control(field):
    return parts(field.widget, "vnb-control")[0]


def of(*kinds):
    return pytest.mark.parametrize("field", kinds, indirect=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (TEXT, "hello\nthere"),
        (SHORT, "hello"),
        (NUMBER, 24),
        (BOOL, True),
        (BOOL, False),
        (ENUM, "pro"),
        (JSON, {"a": [1, None, "é"]}),
        (CHAT, [{"role": "USER", "text": "hi"}, {"role": "ASSISTANT", "text": "hello"}]),
        (IMAGE, {"src": "data:image/png;base64,iVBORw0KGgo="}),
        (IMAGE, "https://example.com/a.png"),
        (variable("x", "SEARCH_RESULTS"), [{"text": "a", "score": 0.5}]),
        (variable("x", "A_TYPE_OF_TOMORROW"), {"k": 1}),
    ],
    indirect=["field"],
)
def test_value_is_read_as_it_was_set(field, changes, value):
    assert changes == []  # no notification while it is built
    field.value = value
    assert (field.value, field.problem()) == (value, None)


@pytest.mark.parametrize(
    ("field", "widget", "caption"),
    [
        (TEXT, "Textarea", "STRING"),
        (SHORT, "Text", "STRING"),
        (variable("x", schema={"maxLength": 10, "x-multiline": True}), "Textarea", "STRING"),
        (NUMBER, "Text", "NUMBER 1\N{EN DASH}72"),
        (variable("x", "NUMBER", schema={"minimum": 0}), "Text", "NUMBER ≥ 0"),
        (BOOL, "Checkbox", "BOOLEAN"),
        (ENUM, "Dropdown", "ENUM"),
        (variable("x", schema={"enum": ["a"]}), "Dropdown", "ENUM"),
        (variable("x", "ARRAY"), "Textarea", "ARRAY"),
    ],
    indirect=["field"],
)
def test_control_follows_from_the_type(field, widget, caption):
    assert type(control(field)).__name__ == widget
    assert [each.value for each in parts(field.widget, "vnb-type")] == [caption]


@of(variable("x", "NUMBER", default=24, extensions={"description": "<b>"}))
def test_a_field_shows_name_description_and_default(field, changes):
    assert (control(field).description, field.value) == ("x", 24)
    assert text_of(parts(field.widget, "vnb-help")[0].value) == "<b>"
    control(field).value = "25"
    assert changes == ["changed"]


@of(NUMBER)
@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("12x", "“12x” is not a number."),
        ("nan", "“nan” is not a number."),
        *((text, f"“{text}” is not a number.") for text in ("9" * 400, "-" + "9" * 5000, "1e999")),
        ("200", "200 is more than the maximum of 72"),
        ("", "A value is required."),
    ],
)
def test_invalid_number_stays_as_typed(field, typed, problem):
    control(field).value = typed
    assert field.problem() == problem
    field.show(field.problem())
    assert (control(field).value, control(field).description) == (typed, "x *")
    assert "vnb-bad" in classes(field.widget)


@of(JSON)
@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ('{"a": "pro",\n "b": ["INV-20931", ]}', "line 2, column 19: a comma before the closing ]"),
        ("{'a': 1}", "line 1, column 2: ' is Python; JSON has true, false, null and double quotes"),
        ('{"a": True}', "line 1, column 7: True is Python"),
        ('{"a": 1', "line 1, column 8: the end is missing"),
        ('{"a" 1}', "line 1, column 6: expecting ':' delimiter"),
        ("[NaN]", "NaN is not a JSON number"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_broken_json_is_explained_by_line_and_column(field, typed, words):
    control(field).value = typed
    assert words in str(field.problem())
    assert (field.value, control(field).value) == (None, typed)


@of(JSON)
def test_null_is_a_value_of_json(field):
    assert field.is_empty
    control(field).value = "null"
    assert (field.is_empty, field.problem()) == (False, None)


@of(ENUM)
def test_value_outside_an_enum_is_kept_but_refused(field):
    assert field.is_empty
    field.value = "gold"
    assert field.value == "gold"
    assert "gold" in str(field.problem())


@of(CHAT)
def test_turns_are_moved(field):
    field.value = [("user", "one"), ("assistant", "two")]
    field.move(1, -1)
    assert [turn["text"] for turn in field.value] == ["two", "one"]


@of(CHAT)
def test_added_turn_has_the_role_that_speaks_next(field):
    assert (field.is_empty, field.problem()) == (True, "A value is required.")
    field.value = [("assistant", "one"), ("user", "two")]
    field.add()
    assert [turn["role"] for turn in field.typed] == ["ASSISTANT", "USER", "ASSISTANT"]
    assert field.problem() == "Turn 3 has no text: write it, or remove the turn."


@of(CHAT)
def test_turns_are_removed(field):
    field.value = [("assistant", "two"), ("user", "one"), ("assistant", "three")]
    field.remove(2)
    field.remove(0)
    assert field.value == [{"role": "USER", "text": "one"}]


@of(CHAT)
def test_turn_with_content_is_kept(field):
    content = {"type": "ARRAY", "value": [{"type": "STRING", "value": "see"}]}
    field.value = [{"role": "USER", "content": content}, {"role": "ASSISTANT", "text": "ok"}]
    assert field.value[0] == {"role": "USER", "content": content}


@of(CHAT)
def test_invalid_pasted_turns_are_refused(field):
    field.value = [("user", "one")]
    parts(field.widget, "vnb-plain")[0].value = True
    text, why, use = parts(field.widget, "vnb-paste")[0].children
    text.value = '[{"role": "KING", "text": "hello"}]'
    use.click()
    assert "KING" in why.value
    assert field.value == [{"role": "USER", "text": "one"}]
    text.value = '[{"role": "SYSTEM", "text": "hello"}]'
    use.click()
    assert field.value == [{"role": "SYSTEM", "text": "hello"}]


@of(IMAGE)
def test_missing_file_is_refused_until_it_exists(field, tmp_path):
    field.value = tmp_path / "none.png"
    assert "does not exist" in str(field.problem())
    (tmp_path / "none.png").write_bytes(PNG)
    field.look()  # as a try to run does
    assert (field.problem(), field.value) == (None, tmp_path / "none.png")
    parts(field.widget, "vnb-how")[0].value = "URL"
    parts(field.widget, "vnb-media-row")[0].children[-1].value = "ftp://example.com"
    assert field.problem() == "An address begins with http:// or https://."


def upload(field, content, size):
    """Send a file as the browser does; return what the kernel answered."""
    page = Page(parts(field.widget, "vnb-uploader")[0])
    page.send(kind="start", id="a", name="p.png", type="image/png", size=size)
    for at in range(0, len(content), 10):
        page.send([content[at : at + 10]], kind="piece", id="a")
    return [data["content"] for data in page.wire.sent if data.get("method") == "custom"]


@of(IMAGE)
def test_upload_larger_than_announced_is_stopped(field):
    assert upload(field, PNG, 12)[-1] == {"kind": "stop", "id": "a"}
    assert field.value is None


@of(IMAGE)
def test_upload_in_pieces_becomes_the_value(field):
    assert [answer["at"] for answer in upload(field, PNG, 24)[-4:]] == [0, 10, 20, 24]
    [row] = parts(field.widget, "vnb-media-row")
    assert dom(row.children[0].value).select("img")
    assert "p.png" in parts(field.widget, "vnb-facts")[0].value


@of(IMAGE)
def test_upload_is_kept_while_a_url_is_tried(field):
    upload(field, PNG, 24)
    [source] = parts(field.widget, "vnb-how")
    source.value = "URL"
    assert field.value is None
    source.value = "Upload"
    assert field.value["src"].startswith("data:image/png;base64,iVBORw0KGgo")


def test_closed_field_leaves_no_widgets():
    before = set(_instances)
    for made_of in (TEXT, NUMBER, BOOL, ENUM, JSON, CHAT, IMAGE):
        make_field(made_of, lambda: None).close()
    assert set(_instances) == before


TYPES = (
    *("STRING", "NUMBER", "JSON", "CHAT_HISTORY", "IMAGE", "AUDIO", "VIDEO", "DOCUMENT"),
    *("ARRAY", "SEARCH_RESULTS", "FUNCTION_CALL", "NEW_ONE", ""),
)
DEFAULTS = (
    *({"a": 1}, [1, "a", None], 5, "abc", True, 1e300, 10**400, {"role": 5}, {"src": 5}),
    *([{"role": "USER", "text": 5}], [{"role": "NOBODY"}], {"src": "javascript:alert(1)"}),
)


@pytest.mark.parametrize("default", DEFAULTS, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("type_", TYPES)
def test_field_with_any_default_can_be_reset(fields, type_, default):
    fields.show({"v1": [variable("x", type_, default={"type": type_, "value": default})]})
    first = fields["x"].typed
    fields.set_values({}, where="d")
    assert fields["x"].typed == first


def test_invalid_default_is_reported(fields):
    fields.show({"v1": [variable("x", "ARRAY", default={"type": "ARRAY", "value": "abc"})]})
    assert "a list is expected" in fields.problems()["x"]


def test_deeply_nested_schema_is_accepted(fields):
    schema = {}
    for _ in range(300):
        schema = {"allOf": [schema]}
    fields.show({"v1": [variable("x", "JSON", schema=schema)]})
    fields["x"].typed = "{}"
    assert fields.values == {"x": {}}
