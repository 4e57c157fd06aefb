"""Prompts go to a real server that speaks OpenAI's protocol; the official client asks for them."""

import json
import threading

import pytest
from openai_kit import KEY, ask, block, chunks, counts, delta, finish, order, says, text


def test_a_prompt_is_streamed_and_ends_with_its_outputs(server, vellum, model):
    model.answer = says("Hel", "lo \u2028 wörld")
    events = ask(vellum, inputs=[text("name", "Ada")])
    assert [event.state for event in events] == [
        "INITIATED", "STREAMING", "STREAMING", "FULFILLED"
    ]  # fmt: skip
    assert [event.output.value for event in events[1:3]] == ["Hel", "lo \u2028 wörld"]
    assert events[-1].outputs[0].value == "Hello \u2028 wörld"
    assert len({event.execution_id for event in events}) == 1


def test_model_is_asked_with_the_messages_and_the_key_of_its_endpoint(
    server, vellum, model, monkeypatch
):
    monkeypatch.setenv("OPENAI_ORG_ID", "of-another-endpoint")
    ask(vellum, inputs=[text("name", "Ada")])
    (asked,) = model.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert "OpenAI-Organization" not in asked.headers
    assert asked.body["model"] == "tiny"
    assert asked.body["messages"] == [{"role": "user", "content": "Hi Ada"}]
    assert asked.body["stream_options"] == {"include_usage": True}


def test_the_first_words_come_while_the_model_still_speaks(server, vellum, model):
    heard = threading.Event()

    def answer(handler, _):
        handler.begin()
        handler.line(delta(content="first"))
        assert heard.wait(120)
        handler.line(delta(content=" second"))
        handler.line(finish())
        handler.line(b"[DONE]")

    model.answer = answer
    events = vellum.ad_hoc.adhoc_execute_prompt_stream(**order())
    assert next(events).state == "INITIATED"
    assert next(events).output.value == "first"
    heard.set()
    assert [event.state for event in events] == ["STREAMING", "FULFILLED"]


def test_figures_have_the_requested_fields(server, vellum, model):
    asked = {"usage": True, "cost": True, "model_name": True, "finish_reason": True}
    first, *_, last = ask(vellum, expand_meta=asked)
    assert first.meta.model_name == "tiny"
    usage = last.meta.usage
    assert (usage.input_token_count, usage.output_token_count) == (7, 3)
    assert last.meta.cost.value == pytest.approx((7 * 1.0 + 3 * 2.0) / 1e6)
    assert last.meta.finish_reason == "STOP"


def test_figures_are_left_out_unless_requested(server, vellum, model):
    assert ask(vellum)[-1].meta is None


def test_tokens_are_estimated_if_the_model_does_not_count_them(server, vellum, model):
    model.answer = chunks(delta(content="x" * 40), finish())
    usage = ask(vellum, expand_meta={"usage": True})[-1].meta.usage
    assert usage.output_token_count == 10
    assert usage.input_token_count > 0
    assert usage.estimated is True


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
    kept = {name: parameters[name] for name in ("temperature", "max_tokens", "presence_penalty")}
    schema = {"name": "answer", "schema": {"type": "object"}}
    answer = {"response_format": {"type": "json_schema", "json_schema": schema}}
    assert rest == {"model": "tiny", "stop": ["END"], "seed": 7} | kept | answer


def test_every_kind_of_block_becomes_a_message(server, vellum, model):
    call = {"type": "FUNCTION_CALL", "value": {"name": "f", "arguments": {"a": 1}, "id": "c9"}}
    image = {"type": "IMAGE", "value": {"src": "https://example.org/a.png"}}
    look = {"type": "ARRAY", "value": [{"type": "STRING", "value": "look"}, image]}
    history = [
        {"role": "USER", "text": "only text"},
        {"role": "ASSISTANT", "content": call},
        {"role": "FUNCTION", "content": {"type": "STRING", "value": "42"}, "source": "c9"},
        {"role": "USER", "content": look},
    ]
    how = {"block_type": "VARIABLE", "input_variable": "how"}
    words = {
        "block_type": "RICH_TEXT",
        "blocks": [{"block_type": "PLAIN_TEXT", "text": "Be "}, how],
    }
    rich = {"block_type": "CHAT_MESSAGE", "chat_role": "SYSTEM", "blocks": [words]}
    off = {**block("never"), "state": "DISABLED"}
    variables = [{"block_type": "VARIABLE", "input_variable": name} for name in ("chat", "picture")]
    picture = {"src": "data:image/png;base64,AA=="}
    inputs = [text("how", "brief"), {"key": "chat", "type": "CHAT_HISTORY", "value": history}]
    inputs.append({"key": "picture", "type": "IMAGE", "value": picture})
    ask(vellum, rich, off, *variables, inputs=inputs)
    function = {"name": "f", "arguments": json.dumps({"a": 1})}
    called = [{"id": "c9", "type": "function", "function": function}]
    seen, shown = (
        {"type": "image_url", "image_url": {"url": url}}
        for url in (image["value"]["src"], picture["src"])
    )
    assert model.asked[0].body["messages"] == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "only text"},
        {"role": "assistant", "content": None, "tool_calls": called},
        {"role": "tool", "tool_call_id": "c9", "content": "42"},
        {"role": "user", "content": [{"type": "text", "text": "look"}, seen]},
        {"role": "user", "content": [shown]},
    ]
