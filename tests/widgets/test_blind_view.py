"""The widget of a blind rating: messages, displayed values, hidden releases."""

import json
from contextlib import contextmanager
from typing import Any

import pandas as pd
import pytest
from dom_kit import texts
from html_kit import assert_harmless
from runs_kit import html_of
from wire_kit import Page

import vellum_nb as vnb
from vellum_nb.local import ChatHistory

HOSTILE = "<img src=x onerror=alert(1)></pre><script>boom()</script>\u202e" + "x" * 200_000


def plain(ticket: str) -> dict[str, Any]:
    if ticket == "rejected":
        raise vnb.Reject("not a ticket")
    return {"reply": f"about {ticket}", "list": [1, {"a": None}], "only_here": True}


def kind(ticket: str) -> dict[str, Any]:
    return {"reply": HOSTILE if ticket == "hostile" else f"sorry about {ticket}", "list": "text"}


@pytest.fixture(scope="module")
def compared():
    with vnb.LocalServer() as server:
        server.deploy(plain, name="blind", release_tags=["tag-alpha"])
        server.deploy(kind, name="blind", release_tags=["tag-omega"], description="other")
        with vnb.connect(server, history=":memory:") as ws:
            cases = [{"ticket": each} for each in ("hostile", "rejected", "a bill", "a login")]
            tags = ["tag-alpha", "tag-omega"]
            ws.sweep("blind", cases, release_tags=tags, progress=False)
            yield ws.compare("blind", release_tags=tags)


@contextmanager
def workspace(history=":memory:"):
    """Yield a workspace on a server with both releases."""
    with vnb.LocalServer() as server, vnb.connect(server, history=history) as ws:
        server.deploy(plain, name="blind", release_tags=["v1"])
        server.deploy(kind, name="blind", release_tags=["v2"], description="other")
        yield ws


def sweep_of(ws, cases):
    return ws.sweep("blind", cases, release_tags=["v1", "v2"], progress=False)


def view_of(compared, **options):
    return compared.view(blind=True, restart=True, **options)


def say(view, kind, **more):
    Page(view).send(kind=kind, step=view.view_model["step"], **more)


def state_of(view):
    state = {k: v for k, v in view.get_state().items() if k not in {"_esm", "_css"}}
    return json.dumps(state, default=str)


@pytest.mark.parametrize("seed", range(900_000_001, 900_000_007))
def test_releases_are_hidden_until_the_end(compared, seed):
    view = view_of(compared, seed=seed)
    runs = [run for case in compared.cases for run in case.runs.values()]
    hidden = ["tag-alpha", "tag-omega", "latency", str(seed)]
    hidden += [x for run in runs for x in (run.id, run.execution_id, run.release_id)]
    while view.session.state == "asking":
        seen = state_of(view) + repr(view) + html_of(view)
        assert [each for each in hidden if each in seen] == []
        say(view, "rate", said="tie")
    assert "tag-alpha" not in state_of(view) + html_of(view)
    say(view, "finish")
    assert "tag-alpha" in view.view_model["result"]
    assert "tag-alpha" in html_of(view)


def calm(messages: ChatHistory) -> str:
    first = len(messages) == 1
    return "Good day" if first else f"noted {HOSTILE if 'hostile' in str(messages) else ''}"


def short(messages: ChatHistory) -> str:
    return "Hi" if len(messages) == 1 else calm(messages)


@pytest.fixture
def conversations():
    """Return a comparison of chats that differ in the first turn only."""
    with vnb.LocalServer() as server, vnb.connect(server, history=":memory:") as ws:
        server.deploy(calm, name="chat", release_tags=["tag-alpha"])
        server.deploy(short, name="chat", release_tags=["tag-omega"], description="other")
        talks = [{"turns": ["hello", "a bill"]}, {"turns": ["hello", "hostile"]}]
        tags = ["tag-alpha", "tag-omega"]
        yield ws.sweep("chat", talks, release_tags=tags, progress=False).compare()


def test_conversations_are_shown_whole(conversations):
    view = view_of(conversations, seed=1)
    assert (view.view_model["state"], view.view_model["total"]) == ("asking", 2)
    question = view.view_model["question"]
    assert texts(question, ".vnb-talk-said") == ["User: hello", "User: a bill"]
    assert sorted(texts(question, ".vnb-talk-reply")[:2]) == ["Good day", "Hi"]
    assert texts(question, ".vnb-talk-reply")[2:] == ["noted", "same answer"]
    assert texts(question, "ins, del") == []
    assert "tag-" not in state_of(view)


def test_inputs_of_a_conversation_are_only_what_the_user_said(conversations):
    session = conversations.blind(restart=True)
    assert session.inputs(session.current) == {"turns": ["hello", "a bill"]}


def test_hostile_conversations_are_escaped(conversations):
    view = view_of(conversations)
    say(view, "rate", said="tie")
    html = view.view_model["question"]
    assert "onerror" in html
    assert_harmless(html)
    assert len(html) < 500_000


def test_hostile_outputs_are_escaped(compared):
    view = view_of(compared)
    html = view.view_model["question"]
    assert_harmless(html)
    assert len(html) < 250_000
    while view.session.state == "asking":
        say(view, "rate", said="A", note="<script>note()</script>")
    say(view, "finish")
    assert_harmless(view.view_model["result"])
    assert_harmless(html_of(view))


def test_message_for_an_earlier_case_is_ignored(compared):
    view = view_of(compared)
    step = view.view_model["step"]
    say(view, "rate", said="A")
    Page(view).send(kind="rate", step=step, said="B")
    assert view.view_model["rated"] == 1


def test_invalid_messages_are_ignored(compared):
    view = view_of(compared)
    say(view, "rate", said="A")
    for content in (None, {}, {"kind": 5}, {"kind": "finish", "step": view.view_model["step"]}):
        Page(view).send_data(method="custom", content=content)
    assert view.view_model["state"] == "asking"
    view.set_state({"view_model": {}})
    assert view.view_model


def test_invalid_rating_is_refused(compared):
    view = view_of(compared)
    say(view, "rate", said="A")
    say(view, "rate", said="C", note=7)
    assert "is not a rating" in view.error
    say(view, "undo")
    assert (view.error, view.view_model["rated"]) == ("", 0)


def test_rating_ends_early_only_after_a_question(compared):
    view = view_of(compared)
    say(view, "rate", said="tie")
    say(view, "end")
    total = view.view_model["total"]
    words = f"1 of {total} cases are rated; the other {total - 1} are left out of the results."
    assert view.view_model["words"].startswith(words)
    assert (view.view_model["state"], view.view_model["ending"]) == ("asking", True)
    say(view, "keep")
    say(view, "finish")
    assert (view.view_model["state"], view.view_model["ending"]) == ("asking", False)
    say(view, "end")
    say(view, "finish")
    assert view.view_model["state"] == "ended"


def test_rating_that_ends_in_another_view_shows_its_results():
    with workspace() as ws:
        compared = sweep_of(ws, [{"ticket": "x"}]).compare()
        view, other = compared.view(blind=True), compared.view(blind=True)
        say(other, "rate", said="A")
        say(other, "finish")
        assert view.view_model["state"] == "ended"


def test_comparisons_of_a_sweep_and_of_a_workspace_share_a_rating():
    with workspace() as ws:
        view = sweep_of(ws, [{"ticket": "x"}]).compare().view(blind=True)
        say(view, "rate", said="A")
        again = ws.compare("blind", release_tags=["v1", "v2"]).view(blind=True)
        assert again.view_model["state"] == "ready"
        assert repr(again) == "BlindView(blind: 1 of 1 rated)"


def test_comparison_of_a_frame_has_no_workspace_to_send_actuals():
    frame = pd.DataFrame({"release_tag": ["v1", "v2"], "input.n": [1, 1], "output.x": [1, 2]})
    view = vnb.compare(frame).view(blind=True)
    assert view.view_model["state"] == "asking"
    say(view, "rate", said="B")
    say(view, "finish")
    assert view.view_model["unsent"] == 0
    assert view.send_actuals() == 0
    assert "no workspace" in view.error


def test_ratings_are_sent_as_actuals(compared):
    view = view_of(compared)
    while view.session.state == "asking":
        say(view, "rate", said="tie")
    say(view, "finish")
    say(view, "actuals")
    assert view.wait(30)
    assert "1 could not be sent" in view.error  # a rejected run has no output to rate
    assert view.sending == "3 sent"
    assert view.view_model["unsent"] == 1


@pytest.fixture
def two_views(compared):
    return view_of(compared), compared.view(blind=True)


def test_rating_in_another_view_is_kept(two_views):
    view, other = two_views
    say(view, "rate", said="A")
    say(other, "rate", said="B")
    assert other.error == "This case was rated in another view; that rating is kept."


def test_undo_in_another_view_is_reported(two_views):
    view, other = two_views
    say(view, "rate", said="A")
    say(other, "rate", said="B")
    say(other, "undo")
    say(view, "undo")
    assert view.error == "It was undone, or the rating ended, in another view."


def test_end_in_another_view_is_reported(two_views):
    view, other = two_views
    while view.session.state == "asking":
        say(view, "rate", said="tie")
    say(other, "rate", said="A")
    say(view, "finish")
    say(other, "undo")
    assert other.view_model["state"] == "ended"
    assert "ended" in other.error


def test_actuals_without_a_server_stay_unsent(tmp_path):
    with workspace(tmp_path / "runs.db") as ws:
        view = sweep_of(ws, [{"ticket": t} for t in "ab"]).compare().view(blind=True)
        for said in "AB":
            say(view, "rate", said=said)
        say(view, "finish")
        ws.server.stop()
        assert view.send_actuals() == 0
        assert view.error.count("Connection refused") == 1
        assert view.error.startswith("2 could not be sent: POST ")
        assert (view.view_model["unsent"], view.sending) == (2, "")
        assert [run.quality for run in ws.history.runs()] == [None] * 4
    assert view.send_actuals() == 0
    assert "was closed" in view.error


def test_view_without_answers_to_rate_says_so():
    frame = {"release_tag": ["v1", "v2"], "input.n": [1, 2], "output.x": [1, 2]}
    model = view_of(vnb.compare(pd.DataFrame(frame))).view_model
    assert (model["state"], model["total"]) == ("empty", 0)
    assert model["words"] == "Nothing to rate: no case has an answer on both releases."
    assert model["foot"].startswith("Run the deployment on both releases")


def test_results_are_shown_only_after_a_decision():
    frame = pd.DataFrame(
        [
            {"release_tag": tag, "input.n": n, "output.x": n + tag.count("2")}
            for n in range(12)
            for tag in ("v1", "v2")
        ]
    )
    view = view_of(vnb.compare(frame), seed=1)
    for _ in range(7):
        assert not view.view_model["decided"]
        say(view, "finish")
        assert view.view_model["state"] == "asking"
        a, _b = view.session.answers(view.session.current)
        say(view, "rate", said="A" if a.release_tag == "v2" else "B")
    assert view.view_model["decided"]
    assert "you can show the results now" in view.view_model["foot"]
    assert "v2" not in state_of(view)
    say(view, "finish")
    assert view.view_model["state"] == "ended"
