"""Prompts that have no answer: refused, broken, silent or given up."""

import sys
import threading

import pytest
import requests
from openai_kit import KEY, ask, block, chunks, delta, finish, order, refuses

from vellum_nb.errors import VellumNBError
from vellum_nb.local import LocalServer
from vellum_nb.local.prompts import Provider

BROKEN = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{oops"}}


def prompted(server):
    url = f"{server.url}/v1/ad-hoc/execute-prompt"
    return requests.post(
        url, json=order(), headers={"X-API-KEY": server.api_key}, timeout=120
    ).json()


def test_without_a_model_the_message_says_which_line_to_write():
    with LocalServer() as server:
        event = prompted(server)
    error = event["error"]
    assert (event["state"], error["code"]) == ("REJECTED", "PROVIDER_CREDENTIALS_UNAVAILABLE")
    assert 'server.models(base_url="http://' in error["message"]


SAYS = {"error": {"message": f"no: {KEY} is wrong", "type": "x"}}


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        ((400, SAYS), "INVALID_REQUEST"),
        ((401, SAYS), "PROVIDER_CREDENTIALS_UNAVAILABLE"),
        ((429, SAYS), "PROVIDER_QUOTA_EXCEEDED"),
        ((500, SAYS), "PROVIDER_ERROR"),
        ((504, SAYS), "REQUEST_TIMEOUT"),
        *(((502, each), "PROVIDER_ERROR") for each in (b"<html>", b"\xff\xfe", b"", b"[" * 60_000)),
        *(((502, each), "PROVIDER_ERROR") for each in ([1], {"detail": "odd"}, "text")),
    ],
)
def test_a_status_of_the_model_is_a_rejection_with_its_words(server, vellum, model, refusal, code):
    status, content = refusal
    model.answer = refuses(*refusal)
    (event,) = ask(vellum)
    assert (event.state, event.error.code) == ("REJECTED", code)
    words = "no: *** is wrong" if content is SAYS else ""
    assert f"answered {status}: {words}" in event.error.message


def test_a_model_that_is_not_there_or_silent_is_a_rejection(server, vellum, model):
    over = threading.Event()
    model.answer = lambda *_: over.wait(20)
    (event,) = ask(vellum, settings={"timeout": 0.2})
    over.set()
    assert event.error.code == "REQUEST_TIMEOUT"
    server.models(base_url="http://127.0.0.1:9/v1", api_key=KEY)
    (event,) = ask(vellum)
    assert event.error.code == "PROVIDER_ERROR"
    assert "http://127.0.0.1:9/v1 cannot be reached" in event.error.message


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([delta(content="half a")], "cut off"),
        ([delta(content="a"), {"error": {"message": "overloaded"}}], "overloaded"),
        ([{"error": {"message": f"got Bearer {KEY}"}}], "got Bearer ***"),
        ([f"no: {KEY}"], "not a completion: 'no: ***'"),
        ([b"{nonsense"], "not JSON"),
        ([[1, 2]], "not a completion"),
        ([{"choices": 5}], "not a completion"),
        ([b"[" * 100_000], "not JSON"),
        ([delta(tool_calls=[BROKEN]), finish("tool_calls"), b"[DONE]"], "called 'f'"),
    ],
)
def test_a_stream_that_breaks_is_rejected_after_what_came(server, vellum, model, lines, words):
    model.answer = chunks(*lines, done=False)
    *_, event = ask(vellum)
    assert (event.state, event.error.code) == ("REJECTED", "PROVIDER_ERROR")
    assert words in event.error.message


@pytest.mark.parametrize(
    "answer",
    [
        *(refuses(401, {"error": "z" * n + KEY + "z" * 99}) for n in (470, 490, 550, 580)),
        refuses(500, b"<html>" + b"z" * 480 + KEY.encode()),
        chunks({"choices": 5, "x": "z" * 165 + KEY}),
        chunks(b"{" + b"z" * 85 + KEY.encode()),
    ],
)
def test_no_part_of_a_key_is_left_where_a_message_is_cut(server, vellum, model, answer):
    model.answer = answer
    *_, event = ask(vellum)
    assert event.state == "REJECTED"
    assert KEY[:6] not in event.error.message


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
def test_an_answer_that_has_no_end_is_given_up(server, vellum, model, kind):
    def endless(handler, _):
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.end_headers()
        handler.close_connection = True
        while True:
            handler.wfile.write(b"x" * 65536)

    model.answer = endless
    *_, event = ask(vellum)
    assert (event.state, event.error.code) == ("REJECTED", "PROVIDER_ERROR")
    assert "more than 67,108,864 bytes" in event.error.message


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ([{"block_type": "VARIABLE", "input_variable": "gone"}], "'gone' not found"),
        ([block("{{ 1 / 0 }}")], "division"),
        ([block("{% if %}")], "jinja"),
        ([{**block("x"), "state": "DISABLED"}], "no message"),
        ([{**block("x"), "chat_role": None}], "Not optional"),
        ([{"block_type": "RIDDLE"}], "are unknown to Vellum"),
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
    assert gone.wait(120)


def test_who_hangs_up_on_a_whole_answer_stops_the_model_too(server, vellum, model):
    begun, gone = threading.Event(), threading.Event()

    def answer(handler, _):
        begun.set()
        handler.connection.settimeout(20)
        if not handler.rfile.read(1):
            gone.set()

    model.answer = answer
    url = f"{server.url}/v1/ad-hoc/execute-prompt"
    with pytest.raises(requests.ReadTimeout):  # which hangs up
        requests.post(url, json=order(), headers={"X-API-KEY": server.api_key}, timeout=(20, 3))
    assert begun.is_set()
    assert gone.wait(120)


@pytest.mark.parametrize("end", ["", None])
def test_a_model_need_not_say_why_it_ended(server, vellum, model, end):
    last = {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": end}]}
    model.answer = chunks(last)
    event = ask(vellum, expand_meta={"finish_reason": True})[-1]
    assert (event.state, event.meta.finish_reason) == ("FULFILLED", "UNKNOWN")


def test_without_the_sdk_or_the_openai_client_the_message_says_what_to_install(server, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "vellum"]:
        monkeypatch.setitem(sys.modules, name, None)
    event = prompted(server)
    assert event["state"] == "REJECTED"
    assert 'pip install "vellum-nb[sdk]"' in event["error"]["message"]
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(VellumNBError, match=r'pip install "vellum-nb\[models\]"'):
        LocalServer().models(base_url="http://127.0.0.1:11434/v1")


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
def test_what_cannot_be_a_model_is_refused_without_showing_its_key(options):
    with pytest.raises(VellumNBError) as caught:
        LocalServer().models(**options)
    assert KEY not in str(caught.value)


def test_the_key_of_the_model_is_in_no_repr(server):
    assert KEY not in repr(Provider(base_url="http://127.0.0.1/v1", api_key=KEY))
    assert KEY not in repr(vars(server))
