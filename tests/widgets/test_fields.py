"""Each kind of field: natural values in and out, what is typed stays, problems in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ipywidgets.widgets.widget import _instances

from vellum_nb.models import VellumVariable
from vellum_nb.widgets.fields import Field, FieldSet
from vellum_nb.widgets.form import FIELDS, make_field

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16
CHANGES: list[str] = []


def variable(type_: str = "STRING", **more: Any) -> VellumVariable:
    return VellumVariable.model_validate({"key": "x", "type": type_, **more})


@pytest.fixture
def field(request: pytest.FixtureRequest) -> Iterator[Field]:
    CHANGES.clear()
    made = make_field(request.param, lambda: CHANGES.append("changed"))
    yield made
    made.close()


TEXT = variable()
SHORT = variable(schema={"type": "string", "maxLength": 80})
NUMBER = variable("NUMBER", schema={"type": "integer", "minimum": 1, "maximum": 72})
BOOL = variable("JSON", schema={"type": "boolean"})
ENUM = variable("JSON", schema={"type": "string", "enum": ["free", "pro"]}, required=False)
JSON = variable("JSON", required=False)
CHAT = variable("CHAT_HISTORY")
IMAGE = variable("IMAGE", required=False)


def control(field: Field) -> Any:
    return next(c for c in field.widget.children if "vnb-control" in c._dom_classes)


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
        (JSON, [1, 2]),
        (CHAT, [{"role": "USER", "text": "hi"}, {"role": "ASSISTANT", "text": "hello"}]),
        (IMAGE, {"src": "data:image/png;base64,iVBORw0KGgo="}),
        (IMAGE, "https://example.com/a.png"),
        (variable("SEARCH_RESULTS"), [{"text": "a", "score": 0.5}]),
        (variable("A_TYPE_OF_TOMORROW"), {"k": 1}),
    ],
    indirect=["field"],
)
def test_a_value_that_is_set_is_the_value_that_is_read(field: Field, value: Any) -> None:
    field.value = value
    assert field.value == value
    assert field.problem() is None


@pytest.mark.parametrize("field", [TEXT], indirect=True)
def test_the_form_hears_of_every_change_and_of_none_while_building(field: Field) -> None:
    assert not CHANGES
    control(field).value = "a"
    assert CHANGES == ["changed"]


def test_every_kind_has_its_row_in_the_table() -> None:
    kinds = {"text", "number", "bool", "enum", "json", "chat"}
    assert set(FIELDS) == kinds | {"image", "audio", "video", "document"}


@pytest.mark.parametrize(
    ("made_of", "widget", "caption"),
    [
        (TEXT, "Textarea", "STRING"),
        (SHORT, "Text", "STRING"),
        (variable(schema={"x-multiline": False}), "Text", "STRING"),
        (variable(schema={"maxLength": 10, "x-multiline": True}), "Textarea", "STRING"),
        (NUMBER, "Text", "NUMBER 1\N{EN DASH}72"),
        (variable("NUMBER", schema={"minimum": 0}), "Text", "NUMBER ≥ 0"),
        (BOOL, "Checkbox", "BOOLEAN"),
        (ENUM, "Dropdown", "ENUM"),
        (JSON, "Textarea", "JSON"),
        (variable("ARRAY"), "Textarea", "ARRAY"),
    ],
)
def test_a_variable_gets_the_control_and_the_caption_of_its_type(
    made_of: VellumVariable, widget: str, caption: str
) -> None:
    field = make_field(made_of, lambda: None)
    assert type(control(field)).__name__ == widget
    captions = [c.value for c in field.widget.children if "vnb-type" in c._dom_classes]
    assert captions == [caption]
    field.close()


def test_a_required_field_is_marked_and_an_optional_one_is_not() -> None:
    required, optional = make_field(TEXT, lambda: None), make_field(JSON, lambda: None)
    assert control(required).description == "x *"
    assert control(optional).description == "x"
    assert required.problem() == "A value is required."
    assert optional.problem() is None


def test_a_description_is_shown_as_text() -> None:
    given = variable(extensions={"description": "<b>bold</b>"})
    shown = [
        c.value for c in make_field(given, lambda: None).widget.children if hasattr(c, "value")
    ]
    assert "&lt;b&gt;bold&lt;/b&gt;" in shown


def test_a_default_stands_in_the_field_and_is_the_value() -> None:
    given = variable("NUMBER", default={"type": "NUMBER", "value": 24})
    assert make_field(given, lambda: None).value == 24


@pytest.mark.parametrize("field", [NUMBER], indirect=True)
@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("12x", "“12x” is not a number."),
        ("nan", "“nan” is not a number."),
        ("1e999", "“1e999” is not a number."),
        ("200", "200 is more than the maximum of 72"),
        ("0", "0 is less than the minimum of 1"),
        ("", "A value is required."),
    ],
)
def test_a_wrong_number_keeps_what_was_typed(field: Field, typed: str, problem: str) -> None:
    control(field).value = typed
    assert field.problem() == problem
    field.show(field.problem())
    assert control(field).value == typed
    assert "vnb-bad" in field.widget._dom_classes


@pytest.mark.parametrize("field", [JSON], indirect=True)
@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (
            '{"plan": "pro",\n "invoices": ["INV-20931", ]}',
            "line 2, column 26: a comma before the closing bracket",
        ),
        ('{"a": 1,}', "line 1, column 8: a comma before the closing brace"),
        ("{'a': 1}", "line 1, column 2: JSON wants double quotes"),
        ('{"a": True}', "line 1, column 7: True is Python; JSON says true"),
        ('{"a": 1', "line 1, column 8: the end is missing"),
        ('{"a" 1}', "line 1, column 6: a colon is missing after the key"),
        ("[1 2]", "line 1, column 4: a comma or a closing bracket is missing"),
        ("[1]]", "line 1, column 4: the JSON ends before here"),
        ("[NaN]", "NaN is no JSON number"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_broken_json_is_explained_by_line_and_column(field: Field, typed: str, words: str) -> None:
    control(field).value = typed
    assert words in str(field.problem())
    assert field.value is None
    assert control(field).value == typed


@pytest.mark.parametrize("field", [JSON], indirect=True)
def test_null_typed_as_json_is_a_value_and_nothing_typed_is_none(field: Field) -> None:
    assert field.is_empty
    control(field).value = "null"
    assert not field.is_empty
    assert field.problem() is None


@pytest.mark.parametrize("field", [ENUM], indirect=True)
def test_a_value_outside_an_enum_is_kept_and_named(field: Field) -> None:
    field.value = "gold"
    assert field.value == "gold"
    assert "gold" in str(field.problem())


@pytest.mark.parametrize("field", [CHAT], indirect=True)
def test_turns_are_added_moved_and_removed(field: Any) -> None:
    field.value = [("user", "one"), ("assistant", "two")]
    field.move(1, -1)
    assert [turn["text"] for turn in field.value] == ["two", "one"]
    field.add()
    assert [turn["role"] for turn in field.typed] == ["ASSISTANT", "USER", "ASSISTANT"]
    assert field.problem() == "Turn 3 has no text: write it, or remove the turn."
    field.remove(2)
    field.remove(0)
    assert field.value == [{"role": "USER", "text": "one"}]


@pytest.mark.parametrize("field", [CHAT], indirect=True)
def test_a_message_with_parts_survives_the_editor(field: Field) -> None:
    parts = {"type": "ARRAY", "value": [{"type": "STRING", "value": "see"}]}
    messages = [{"role": "USER", "content": parts}, {"role": "ASSISTANT", "text": "ok"}]
    field.value = messages
    assert field.value == messages


@pytest.mark.parametrize("field", [CHAT], indirect=True)
def test_pasted_turns_that_are_none_are_refused_and_kept(field: Any) -> None:
    field.value = [("user", "one")]
    field._paste.toggle.value = True
    text, why, use = field._paste.widget.children
    text.value = '[{"role": "KING", "text": "hello"}]'
    use.click()
    assert "KING" in why.value
    assert 'role="alert"' in why.value
    assert field.value == [{"role": "USER", "text": "one"}]
    text.value = '[{"role": "SYSTEM", "text": "hello"}]'
    use.click()
    assert field.value == [{"role": "SYSTEM", "text": "hello"}]


@pytest.mark.parametrize("field", [CHAT], indirect=True)
def test_a_chat_without_a_word_is_empty(field: Field) -> None:
    assert field.is_empty
    assert field.problem() == "A value is required."


@pytest.mark.parametrize("field", [IMAGE], indirect=True)
def test_a_path_that_is_no_file_is_refused(field: Field, tmp_path: Path) -> None:
    field.value = tmp_path / "none.png"
    assert "There is no file" in str(field.problem())
    (tmp_path / "none.png").write_bytes(PNG)
    field.look()  # as a try to run does
    assert field.problem() is None
    assert field.value == tmp_path / "none.png"


@pytest.mark.parametrize("field", [IMAGE], indirect=True)
def test_an_address_that_is_none_is_refused(field: Any) -> None:
    field.value = "https://example.com/a.png"
    field._url.value = "ftp://example.com"
    assert field.problem() == "An address begins with http:// or https://."


def upload(field: Any, content: bytes, *, size: int | None = None, piece: int = 10) -> list[Any]:
    """Send a file as the browser does; return what the kernel answered."""
    answers: list[Any] = []
    field._uploader.send = lambda message, *_: answers.append(message)
    heard = field._uploader._on_message
    start = {"kind": "start", "id": "a", "name": "p.png", "type": "image/png"}
    heard(None, {**start, "size": len(content) if size is None else size}, [])
    for at in range(0, len(content), piece):
        heard(None, {"kind": "piece", "id": "a"}, [memoryview(content[at : at + piece])])
    return answers


@pytest.mark.parametrize("field", [IMAGE], indirect=True)
def test_an_upload_in_pieces_becomes_the_value_with_a_preview(field: Any) -> None:
    answers = upload(field, PNG)
    assert [answer["at"] for answer in answers] == [0, 10, 20, 24]
    assert field.value["src"].startswith("data:image/png;base64,iVBORw0KGgo")
    assert "<img" in field._preview.value
    assert "p.png" in field._facts.value


@pytest.mark.parametrize("field", [IMAGE], indirect=True)
def test_an_upload_that_brings_more_than_it_said_is_stopped(field: Any) -> None:
    answers = upload(field, PNG, size=12)
    assert answers[-1] == {"kind": "stop", "id": "a"}
    assert field.value is None


@pytest.mark.parametrize("field", [IMAGE], indirect=True)
def test_what_was_given_one_way_is_kept_while_another_is_tried(field: Any) -> None:
    upload(field, PNG)
    field._how.value = "URL"
    assert field.value is None
    field._how.value = "Upload"
    assert field.value["src"].startswith("data:image/png")


def test_closing_a_field_closes_all_its_widgets() -> None:
    before = set(_instances)
    for made_of in (TEXT, NUMBER, BOOL, ENUM, JSON, CHAT, IMAGE):
        make_field(made_of, lambda: None).close()
    assert set(_instances) == before


def test_what_was_typed_moves_to_the_field_of_another_release() -> None:
    fields = FieldSet(make_field, lambda: None)
    fields.show({"v1": [TEXT]})
    fields["x"].value = "24"
    fields.show({"v2": [variable("NUMBER")]})
    assert fields.values == {"x": 24}
    fields["x"].value = 7
    fields.show({"v1": [TEXT]})
    assert fields.values == {"x": "7"}
    fields.show({"v3": []})
    fields.show({"v1": [TEXT]})
    assert fields.values == {"x": "7"}
    fields.close()


def test_a_value_is_held_against_every_release_that_it_goes_to() -> None:
    fields = FieldSet(make_field, lambda: None)
    wider = variable("NUMBER", schema={"maximum": 100})
    narrower = variable("NUMBER", schema={"maximum": 10})
    fields.show({"v1": [narrower], "v2": [wider]})
    fields["x"].value = 50
    assert fields.problems() == {"x": "v1: 50 is more than the maximum of 10"}
    fields.show({"v2": [wider]})
    assert fields.problems() == {}
    fields.close()
