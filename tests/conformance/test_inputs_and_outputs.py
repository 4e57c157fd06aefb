"""Every type of input and output, by the official client."""

import uuid

import pytest
from conformance_kit import chat, json_input, number, outputs, run, text, v

TEXTS = ["", "hällo wörld", "\u2028 \u2029 \u0085 \ufeff", "x" * 300_000, "{{ jinja }} {% raw %}"]
TEXTS += ["🙂👩\u200d👩\u200d👧 \U0010ffff", "\x00\x07\x1b[31m", "line\r\nbreaks\n\ttabs"]
TEXTS += ['a "quoted" \\ back\\slash']


@pytest.mark.parametrize("value", TEXTS)
def test_string_is_returned_unchanged(client, value):
    assert outputs(run(client, "echo", text(value))) == {"output": value}


@pytest.mark.parametrize("value", [0, -1.5, 42, 2**53 + 1, 1e300, 5e-324, True, "7"])
def test_number_is_returned_unchanged(client, value):
    assert outputs(run(client, "echo-number", number(value))) == {"output": float(value)}


@pytest.mark.parametrize(
    "value",
    [None, True, False, 0, 2**70, -0.5, "text", [], {}, [1, [None, {"ä": "ß"}]], {"": None}],
)
def test_json_is_returned_unchanged(client, value):
    assert outputs(run(client, "echo-json", json_input(value)))["value"] == {"held": value}


def test_json_without_a_value_is_null(client):
    unset = v.WorkflowRequestJsonInputRequest(name="value")
    assert outputs(run(client, "echo-json", unset))["value"] == {"held": None}


def test_input_with_a_default_can_be_omitted(client):
    assert outputs(run(client, "echo-json"))["value"] == {"held": "default"}


CONTENTS = [
    v.StringChatMessageContentRequest(value="hi"),
    v.FunctionCallChatMessageContentRequest(
        value=v.FunctionCallChatMessageContentValueRequest(name="f", arguments={"x": 1}, id="c")
    ),
    v.ImageChatMessageContentRequest(value=v.VellumImageRequest(src="https://example.org/a.png")),
    v.AudioChatMessageContentRequest(value=v.VellumAudioRequest(src="data:audio/mp3;base64,AA==")),
    v.VideoChatMessageContentRequest(value=v.VellumVideoRequest(src="https://example.org/a.mp4")),
    v.DocumentChatMessageContentRequest(value=v.VellumDocumentRequest(src="data:,x")),
    v.ArrayChatMessageContentRequest(
        value=[
            v.StringChatMessageContentRequest(value="look"),
            v.ImageChatMessageContentRequest(value=v.VellumImageRequest(src="data:,x")),
        ]
    ),
]


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: content.type)
def test_chat_message_is_returned_with_its_content(client, content):
    message = v.ChatMessageRequest(
        role="USER", content=content, source="s", metadata={"k": [1, None]}
    )
    (came,) = outputs(run(client, "echo-chat", chat(message)))["chat"]["messages"]
    assert came["content"]["type"] == content.type
    assert (came["source"], came["metadata"]) == ("s", {"k": [1, None]})


@pytest.mark.parametrize("role", ["SYSTEM", "ASSISTANT", "USER", "FUNCTION"])
def test_chat_message_of_any_role_is_returned(client, role):
    message = v.ChatMessageRequest(role=role, text="hällo")
    (came,) = outputs(run(client, "echo-chat", chat(message)))["chat"]["messages"]
    assert (came["role"], came["text"]) == (role, "hällo")


def test_empty_chat_is_returned(client):
    assert outputs(run(client, "echo-chat", chat()))["chat"] == {"messages": []}


MEDIA = {
    "image": (v.WorkflowRequestImageInputRequest, v.VellumImageRequest),
    "audio": (v.WorkflowRequestAudioInputRequest, v.VellumAudioRequest),
    "video": (v.WorkflowRequestVideoInputRequest, v.VellumVideoRequest),
    "document": (v.WorkflowRequestDocumentInputRequest, v.VellumDocumentRequest),
}


@pytest.mark.parametrize("kind", MEDIA)
@pytest.mark.parametrize("src", ["https://example.org/a", "data:text/plain;base64,aGk="])
def test_media_are_returned_unchanged(client, kind, src):
    outer, inner = MEDIA[kind]
    given = outer(name=kind, value=inner(src=src, metadata={"n": 1}))
    came = outputs(run(client, "echo-media", given))["came"]
    assert came == {kind: {"src": src, "metadata": {"n": 1}}}


@pytest.mark.parametrize(
    ("name", "type_", "look"),
    [
        ("text", "STRING", lambda value: value == "häß → 🙂\u2028"),
        ("number", "NUMBER", lambda value: value == 1.5),
        ("data", "JSON", lambda value: value == {"a": [1, None, True, "\u2029"]}),
        ("chat", "CHAT_HISTORY", lambda value: value[0].content.value == "hi"),
        ("found", "SEARCH_RESULTS", lambda value: value[0].document.label == "Doc"),
        ("image", "IMAGE", lambda value: value.metadata == {"n": 1}),
        ("audio", "AUDIO", lambda value: value.src.startswith("data:")),
        ("video", "VIDEO", lambda value: value.src.startswith("data:")),
        ("document", "DOCUMENT", lambda value: value.src.startswith("data:")),
    ],
)
def test_an_output_of_each_type_is_parsed(client, name, type_, look):
    answer = run(client, "every-type")
    (output,) = [output for output in answer.data.outputs if output.name == name]
    assert output.type == type_
    assert look(output.value)
    uuid.UUID(output.id)


def test_null_outputs_keep_their_types(client):
    answer = run(client, "every-type", json_input(True, "empty"))  # noqa: FBT003 - a value
    assert {output.value for output in answer.data.outputs} == {None}
    assert len({output.type for output in answer.data.outputs}) == 9


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [("refuse", "USER_DEFINED_ERROR", "no x today"), ("fail", "NODE_EXECUTION", "KeyError")],
)
def test_rejected_run_is_returned(client, name, code, words):
    answer = run(client, name, text("x"))
    assert (answer.data.state, answer.data.error.code) == ("REJECTED", code)
    assert words in answer.data.error.message
    assert answer.execution_id
