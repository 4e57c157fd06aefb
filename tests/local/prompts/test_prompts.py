"""Prompts go to a real server that speaks OpenAI's protocol; the official client asks for them."""

from __future__ import annotations

import json
import socket
import threading
import uuid

import pytest
from openai_kit import KEY, chunks, counts, delta, finish, refuses, says

from vellum_nb.errors import VellumNBError
from vellum_nb.local import LocalServer


def block(text, role="USER"):
    return {
        "block_type": "CHAT_MESSAGE",
        "chat_role": role,
        "blocks": [{"block_type": "JINJA", "template": text}],
    }


def order(*blocks, inputs=(), **options):
    return {
        "ml_model": "gpt-4o-mini",
        "input_values": list(inputs),
        "input_variables": [],
        "parameters": {},
        "blocks": list(blocks) or [block("Hi {{ name }}")],
        **options,
    }


def ask(vellum, *blocks, **options):
    return list(vellum.ad_hoc.adhoc_execute_prompt_stream(**order(*blocks, **options)))


def text(key, value):
    return {"key": key, "type": "STRING", "value": value}


def test_a_prompt_is_streamed_and_ends_with_its_outputs(server, vellum, model):
    model.answer = says("Hel", "lo \u2028 wörld")
    events = ask(vellum, inputs=[text("name", "Ada")])
    assert [event.state for event in events] == [
        "INITIATED", "STREAMING", "STREAMING", "FULFILLED"
    ]  # fmt: skip
    assert [event.output.value for event in events[1:3]] == ["Hel", "lo \u2028 wörld"]
    assert events[-1].outputs[0].value == "Hello \u2028 wörld"
    assert len({event.execution_id for event in events}) == 1
    (asked,) = model.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert asked.body["model"] == "tiny"
    assert asked.body["messages"] == [{"role": "user", "content": "Hi Ada"}]
    assert asked.body["stream_options"] == {"include_usage": True}


def test_the_first_words_come_while_the_model_still_speaks(server, vellum, model):
    heard = threading.Event()

    def answer(handler, _):
        handler.begin()
        handler.line(delta(content="first"))
        assert heard.wait(20)
        handler.line(delta(content=" second"))
        handler.line(finish())
        handler.line(b"[DONE]")

    model.answer = answer
    events = vellum.ad_hoc.adhoc_execute_prompt_stream(**order())
    assert next(events).state == "INITIATED"
    assert next(events).output.value == "first"
    heard.set()
    assert [event.state for event in events] == ["STREAMING", "FULFILLED"]


def test_a_prompt_that_is_not_streamed_answers_with_its_last_event(server, vellum, model):
    answer = vellum.ad_hoc.adhoc_execute_prompt(**order())
    assert (answer.state, answer.outputs[0].value) == ("FULFILLED", "Hello")
    assert "stream" not in model.asked[0].body


def test_figures_are_told_as_asked(server, vellum, model):
    asked = {"usage": True, "cost": True, "model_name": True, "finish_reason": True}
    first, *_, last = ask(vellum, expand_meta=asked)
    assert first.meta.model_name == "tiny"
    usage = last.meta.usage
    assert (usage.input_token_count, usage.output_token_count) == (7, 3)
    assert last.meta.cost.value == pytest.approx((7 * 1.0 + 3 * 2.0) / 1e6)
    assert last.meta.finish_reason == "STOP"
    assert ask(vellum)[-1].meta is None


def test_tokens_are_estimated_when_the_model_does_not_count_and_it_is_said(server, vellum, model):
    model.answer = chunks(delta(content="x" * 40), finish())
    usage = ask(vellum, expand_meta={"usage": True})[-1].meta.usage
    assert usage.output_token_count == 10
    assert usage.input_token_count > 0
    assert usage.estimated is True


def test_usage_is_kept_for_the_node_that_asked(server, vellum, model):
    span = str(uuid.uuid4())
    parent = {"type": "WORKFLOW_NODE", "span_id": span, "parent": None}
    more = {"execution_context": {"trace_id": str(uuid.uuid4()), "parent_context": parent}}
    ask(vellum, request_options={"additional_body_parameters": more})
    (usage,) = server._models.usage.of(span)
    assert (usage.model, usage.tokens_in, usage.tokens_out) == ("tiny", 7, 3)
    assert usage.cost_usd == pytest.approx(13e-6)


def test_without_a_model_the_message_says_which_line_to_write(prompts, vellum):
    prompts._models.provider = None
    (event,) = ask(vellum)
    assert (event.state, event.error.code) == ("REJECTED", "PROVIDER_CREDENTIALS_UNAVAILABLE")
    assert 'server.models(base_url="http://' in event.error.message
    assert vellum.ad_hoc.adhoc_execute_prompt(**order()).state == "REJECTED"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "INVALID_REQUEST"),
        (401, "PROVIDER_CREDENTIALS_UNAVAILABLE"),
        (404, "INVALID_REQUEST"),
        (429, "PROVIDER_QUOTA_EXCEEDED"),
        (500, "PROVIDER_ERROR"),
        (504, "REQUEST_TIMEOUT"),
    ],
)
def test_a_status_of_the_model_is_a_rejection_with_its_words(server, vellum, model, status, code):
    model.answer = refuses(status, {"error": {"message": f"no: {KEY} is wrong", "type": "x"}})
    (event,) = ask(vellum)
    assert (event.state, event.error.code) == ("REJECTED", code)
    assert f"answered {status}: no: *** is wrong" in event.error.message


@pytest.mark.parametrize(
    "content", [b"<html>nginx</html>", b"\xff\xfe", b"", [1], {"detail": "odd"}, "text"]
)
def test_a_refusal_of_any_shape_is_told(server, vellum, model, content):
    model.answer = refuses(502, content)
    (event,) = ask(vellum)
    assert event.error.code == "PROVIDER_ERROR"
    assert "answered 502" in event.error.message


def test_a_model_that_is_not_there_is_a_rejection(server, vellum):
    server.models(base_url="http://127.0.0.1:9/v1", api_key=KEY)
    (event,) = ask(vellum)
    assert event.error.code == "PROVIDER_ERROR"
    assert "http://127.0.0.1:9/v1 cannot be reached" in event.error.message


def test_a_silent_model_is_given_up_after_the_timeout(server, vellum, model):
    over = threading.Event()
    model.answer = lambda *_: over.wait(20)
    (event,) = ask(vellum, settings={"timeout": 0.2})
    over.set()
    assert event.error.code == "REQUEST_TIMEOUT"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([delta(content="half a")], "cut off"),
        ([delta(content="a"), {"error": {"message": "overloaded"}}], "overloaded"),
        ([b"{nonsense"], "no JSON"),
        ([[1, 2]], "no completion"),
        ([{"choices": 5}], "no completion"),
        ([b"[" * 100_000], "no JSON"),
    ],
)
def test_a_stream_that_breaks_is_rejected_after_what_came(server, vellum, model, lines, words):
    model.answer = chunks(*lines, done=False)
    *_, event = ask(vellum)
    assert (event.state, event.error.code) == ("REJECTED", "PROVIDER_ERROR")
    assert words in event.error.message


def test_a_function_call_is_put_together_from_its_pieces(server, vellum, model):
    def piece(**function):
        return delta(tool_calls=[{"index": 0, "function": function}])

    start = {"index": 0, "id": "call_1", "function": {"name": "weather", "arguments": ""}}
    model.answer = chunks(
        delta(content="Let me see."),
        delta(tool_calls=[start]),
        piece(arguments='{"city": '),
        piece(arguments='"Oslo"}'),
        finish("tool_calls"),
        counts(1, 1),
    )
    weather = {"name": "weather", "description": "d", "parameters": {"type": "object"}}
    *_, streamed, last = ask(vellum, functions=[{**weather, "forced": True}])
    call = last.outputs[1].value
    assert (call.name, call.arguments, call.id) == ("weather", {"city": "Oslo"}, "call_1")
    assert streamed.output.value == call
    assert last.outputs[0].value == "Let me see."
    body = model.asked[0].body
    assert body["tools"] == [{"type": "function", "function": weather}]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}


def test_a_function_call_with_broken_arguments_is_rejected(server, vellum, model):
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{oops"}}
    model.answer = chunks(delta(tool_calls=[call]), finish("tool_calls"))
    *_, last = ask(vellum)
    assert (last.state, last.error.code) == ("REJECTED", "PROVIDER_ERROR")
    assert "'f'" in last.error.message


def test_an_answer_that_was_too_long_says_so(server, vellum, model):
    model.answer = chunks(delta(content="and then"), finish("length"))
    last = ask(vellum, expand_meta={"finish_reason": True})[-1]
    assert (last.state, last.meta.finish_reason) == ("FULFILLED", "LENGTH")


def test_parameters_go_along_and_neutral_ones_stay_behind(server, vellum, model):
    parameters = {
        "temperature": 0.0,
        "max_tokens": 50,
        "top_p": 1.0,
        "top_k": 0,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.5,
        "stop": ["END"],
        "logit_bias": None,
        "custom_parameters": {"seed": 7, "model": "other", "json_schema": {"type": "object"}},
    }
    ask(vellum, parameters=parameters)
    body = model.asked[0].body
    rest = {k: v for k, v in body.items() if k not in {"messages", "stream", "stream_options"}}
    assert rest == {
        "model": "tiny",
        "temperature": 0.0,
        "max_tokens": 50,
        "presence_penalty": 0.5,
        "stop": ["END"],
        "seed": 7,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"type": "object"}},
        },
    }


def test_every_kind_of_block_becomes_a_message(server, vellum, model):
    history = [
        {"role": "USER", "text": "only text"},
        {"role": "ASSISTANT", "content": {
            "type": "FUNCTION_CALL", "value": {"name": "f", "arguments": {"a": 1}, "id": "c9"}}},
        {"role": "FUNCTION", "content": {"type": "STRING", "value": "42"}, "source": "c9"},
        {"role": "USER", "content": {"type": "ARRAY", "value": [
            {"type": "STRING", "value": "look"},
            {"type": "IMAGE", "value": {"src": "https://example.org/a.png"}}]}},
    ]  # fmt: skip
    rich = {
        "block_type": "CHAT_MESSAGE",
        "chat_role": "SYSTEM",
        "blocks": [{
            "block_type": "RICH_TEXT",
            "blocks": [
                {"block_type": "PLAIN_TEXT", "text": "Be "},
                {"block_type": "VARIABLE", "input_variable": "how"},
            ],
        }],
    }  # fmt: skip
    off = {**block("never"), "state": "DISABLED"}
    variables = [{"block_type": "VARIABLE", "input_variable": name} for name in ("chat", "picture")]
    picture = {"src": "data:image/png;base64,AA=="}
    ask(
        vellum,
        rich,
        off,
        *variables,
        inputs=[
            text("how", "brief"),
            {"key": "chat", "type": "CHAT_HISTORY", "value": history},
            {"key": "picture", "type": "IMAGE", "value": picture},
        ],
    )
    assert model.asked[0].body["messages"] == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "only text"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c9",
                    "type": "function",
                    "function": {"name": "f", "arguments": json.dumps({"a": 1})},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c9", "content": "42"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": picture["src"]}}],
        },
    ]


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ([{"block_type": "VARIABLE", "input_variable": "gone"}], "'gone' not found"),
        ([block("{{ 1 / 0 }}")], "division"),
        ([block("{% if %}")], "jinja"),
        ([{**block("x"), "state": "DISABLED"}], "no message"),
        ([{"block_type": "RIDDLE"}], "not what Vellum knows"),
        ([{"block_type": "AUDIO", "src": "https://example.org/a.mp3"}], "data URL"),
    ],
)
def test_blocks_that_do_not_fit_are_rejected(server, vellum, model, blocks, words):
    (event,) = ask(vellum, *blocks)
    assert (event.state, event.error.code) == ("REJECTED", "INVALID_INPUTS")
    assert words in event.error.message
    assert not model.asked


def test_who_hangs_up_stops_the_model(server, vellum, model):
    gone = threading.Event()

    def answer(handler, _):
        handler.begin()
        try:
            for _ in range(1_000_000):
                handler.line(delta(content="for ever and ever " * 50))
        except OSError:
            gone.set()

    model.answer = answer
    events = vellum.ad_hoc.adhoc_execute_prompt_stream(**order())
    next(events)
    next(events)
    events.close()
    assert gone.wait(20)


def test_who_hangs_up_on_a_whole_answer_stops_the_model_too(server, vellum, model):
    begun, gone = threading.Event(), threading.Event()

    def answer(handler, _):
        begun.set()
        handler.connection.settimeout(20)
        if not handler.rfile.read(1):
            gone.set()

    model.answer = answer
    sock = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
    body = json.dumps(order()).encode()
    head = (
        "POST /v1/ad-hoc/execute-prompt HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"X-API-KEY: {server.api_key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with sock:
        sock.sendall(head.encode() + body)
        assert begun.wait(20)
    assert gone.wait(20)


@pytest.mark.parametrize("end", ["", None])
def test_a_model_need_not_say_why_it_ended(server, vellum, model, end):
    last = {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": end}]}
    model.answer = chunks(last)
    event = ask(vellum, expand_meta={"finish_reason": True})[-1]
    assert (event.state, event.meta.finish_reason) == ("FULFILLED", "UNKNOWN")


def test_prompt_deployments_are_refused_in_words(server, vellum):
    from vellum.client.errors.not_found_error import NotFoundError

    with pytest.raises(NotFoundError) as caught:
        vellum.execute_prompt(inputs=[], prompt_deployment_name="x")
    assert "InlinePromptNode" in caught.value.body["detail"]
    with pytest.raises(NotFoundError):
        list(vellum.execute_prompt_stream(inputs=[], prompt_deployment_name="x"))


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "127.0.0.1:11434"},
        {"base_url": f"http://user:{KEY}@127.0.0.1/v1"},
        {"base_url": f"http://127.0.0.1/v1?key={KEY}"},
        {"base_url": "http://[::1"},
        {"base_url": "http://127.0.0.1", "api_key": f"{KEY}\n"},
        {"base_url": "http://127.0.0.1", "timeout": 0},
        {"base_url": "http://127.0.0.1", "prices": {"m": 3}},
        {"base_url": "http://127.0.0.1", "prices": {"m": (1.0, float("nan"))}},
    ],
)
def test_what_cannot_be_a_model_is_refused_without_telling_its_key(options):
    with pytest.raises(VellumNBError) as caught:
        LocalServer().models(**options)
    assert KEY not in str(caught.value)


def test_the_key_of_the_model_is_in_no_repr(server):
    assert KEY not in repr(server._models.provider)
    assert KEY not in repr(vars(server))
