"""HTML of runs side by side and of traces."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from dom_kit import dom, text_of
from html_kit import HOSTILE, assert_harmless, run, shapes
from runs_kit import html_of

from vellum_nb.comparison import compare_runs
from vellum_nb.comparison.traces import in_order
from vellum_nb.models import NodeRun, RunError
from vellum_nb.widgets.outputs import side_by_side_html, side_by_side_traces, trace_html
from vellum_nb.widgets.results import outputs_text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_runs_are_harmless(text):
    outputs = {f"{text}{number}": value for number, value in enumerate(shapes(text))}
    fields = {"output_types": dict.fromkeys(outputs, text), "deployment": text}
    fields |= {"not_sent": (text,), "inputs": {text: text}}
    error = RunError(code=text, message=text)
    runs = [
        run(text, outputs, **fields),
        run("v2", dict.fromkeys(outputs, text), **fields),
        run("v3", state="REJECTED", error=error, **fields),
        run("v4", state="FAILED", error=error, **fields),
    ]
    assert_harmless(side_by_side_html(runs))
    assert_harmless(side_by_side_html(runs, markdown=True))
    for one in runs:
        assert_harmless(side_by_side_html([runs[1], one]))
    tags = [one.release_tag for one in runs]

    assert_harmless(html_of(compare_runs(runs, deployment=text, release_tags=tags)))


def test_side_by_side_marks_changed_words():
    a = run("v1", {"reply": "We will look into it", "tags": ["card"], "score": 1}, latency_s=1.84)
    b = run("v2", {"reply": "We looked into it", "tags": ["card", "risk"], "score": 1.0})
    text = text_of(side_by_side_html([a, b]))
    page = dom(side_by_side_html([a, b]))
    assert [mark.text for mark in page.select("dd ins")] == ["looked", ', "risk"']
    assert [mark.text for mark in page.select("dd del")] == ["will look"]
    assert "We looked into it" in text
    assert "We will look into it" in text
    assert "FULFILLED · 1.84 s baseline" in text
    assert "2 of 3 outputs differ" in text


def test_inline_form_shows_both_texts_in_one():
    runs = [run("v1", {"reply": "We will look into it"}), run("v2", {"reply": "We looked into it"})]
    text = text_of(side_by_side_html(runs, inline=True))
    assert "We will look looked into it" in text


def test_baseline_marks_what_the_chosen_release_has_lost():
    texts = {"v1": "one two three four", "v2": "one two three", "v3": "two three four"}
    runs = [run(tag, {"reply": text}) for tag, text in texts.items()]
    pages = {tag: dom(side_by_side_html(runs, compared=tag)) for tag in ("v2", "v3", "")}
    lost = {tag: [e.text.strip() for e in page.select("dd del")] for tag, page in pages.items()}
    assert lost == {"v2": ["four"], "v3": ["one"], "": []}


def test_unmet_expected_value_is_named():
    text = text_of(
        side_by_side_html([run("v1", {"x": "1", "y": "2"})], expected={"x": "9", "y": "2"})
    )
    assert "x 1 expected 9 y 2 as expected" in text


def test_side_by_side_reports_a_missing_output():
    text = text_of(side_by_side_html([run("v1", {"x": "1", "y": "2"}), run("v2", {"x": "1"})]))
    assert "missing" in text
    assert "1 of 2 outputs differ" in text


@pytest.mark.parametrize(
    ("state", "code", "words"),
    [
        ("REJECTED", "NODE_EXECUTION", "A step of the workflow failed."),
        ("REJECTED", "SOMETHING_NEW", "The workflow ended with an error."),
        ("FAILED", "HTTP_503", "No usable answer was received."),
        ("CANCELLED", "CANCELLED", "Cancelled before it was sent."),
        ("CANCELLED", "WORKFLOW_CANCELLED", "The workflow was cancelled on the server."),
    ],
)
def test_run_without_outputs_shows_the_reason(state, code, words):
    failed = run("v1", state=state, error=RunError(code=code, message="details: 1 < 2"))
    text = text_of(side_by_side_html([failed]))
    assert f"v1 {state}" in text
    assert words in text
    assert ("details: 1 < 2" in text) is (code != state)


@pytest.mark.parametrize(
    ("state", "doubt", "words"),
    [
        ("CANCELLED", "SENT", "Cancelled; it may still have run."),
        ("FAILED", "SENT", "No answer was received; it may still have run."),
        ("FAILED", "EXECUTED", "No answer was received; it was executed."),
    ],
)
def test_run_in_doubt_is_explained(state, doubt, words):
    error = RunError(code="CANCELLED" if state == "CANCELLED" else "TIMEOUT", message="slow")
    text = text_of(
        side_by_side_html(
            [run("v1", id="a", external_id="a", state=state, doubt=doubt, error=error)]
        )
    )
    assert f"v1 {state} · in doubt" in text
    assert words in text


def test_pending_run_is_not_compared():
    waiting = run("v2", inputs={}, state="STARTED")
    assert "no answer yet" in text_of(side_by_side_html([waiting]))
    text = text_of(side_by_side_html([run("v1"), waiting]))
    assert "nothing to compare" not in text
    assert "different inputs" not in text


def test_side_by_side_without_runs_says_so():
    assert text_of(side_by_side_html([])) == "No runs to show."


def test_rendered_markdown_is_not_marked():
    a, b = run("v1", {"reply": "**a**"}), run("v2", {"reply": "**b**"})
    page = dom(side_by_side_html([a, b], markdown=True))
    assert [strong.text for strong in page.select("strong")] == ["a", "b"]
    assert page.select("ins") == []
    assert "differs" in page.text


def test_different_inputs_are_reported():
    runs = [run("v1", {"x": "1"}), run("v2", {"x": "1"}, inputs={"ticket": "b"})]
    text = text_of(side_by_side_html(runs))
    assert "different inputs" in text
    assert "v2 against v1: new in v2 only in v1" in text
    assert "only in v1" not in text_of(side_by_side_html(runs, legend=False))


def test_different_deployments_are_listed():
    runs = [run("v1"), run("v2", deployment="digest"), run("v3")]
    assert "in this order: triage, digest, triage" in text_of(side_by_side_html(runs))


@pytest.mark.parametrize(("tags", "count"), [(("v1", "v2"), 1), (("v1",), 1), (("v2",), 0)])
def test_inputs_that_were_not_sent_are_reported_once(tags, count):
    runs = {"v1": run("v1", {"x": "1"}, not_sent=("vip", "tier")), "v2": run("v2", {"x": "1"})}
    text = text_of(side_by_side_html([runs[tag] for tag in tags]))
    assert text.count("v1 was not sent vip, tier") == count


ERROR = RunError(code="HTTP_503", message="busy")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"outputs": {"reply": "a\nb"}}, "a\nb"),
        (
            {"outputs": {"n": 3.0, "tags": ["a"]}, "output_types": {"n": "NUMBER"}},
            'n: 3\ntags: ["a"]',
        ),
        ({"state": "FAILED", "error": ERROR}, "HTTP_503: busy"),
        ({"state": "STARTED"}, ""),
    ],
)
def test_outputs_are_copied_as_plain_text(fields, text):
    assert outputs_text(run(**fields)) == text


def test_truncated_copy_says_so():
    text = outputs_text(run(outputs={"reply": "x" * 1_000_000, "n": 1}))
    end = "\n… 900,012 more characters; the run has the whole text"
    assert text == f"reply: {'x' * 99_993}{end}"


BEGIN = datetime(2026, 11, 24, 12, tzinfo=UTC)


def node(name, start, end=None, **more):
    def moment(seconds):
        return None if seconds is None else BEGIN + timedelta(seconds=seconds)

    fields = {"state": "FULFILLED", "span_id": name, **more}
    return NodeRun.model_validate(
        {"name": name, "start": moment(start), "end": moment(end), **fields}
    )


def bars(html):
    """Return the start and width of each bar in percent."""
    styles = [bar["style"] for bar in dom(html).select(".vnb-trace-track > span")]
    return [tuple(float(part.strip("%")) for part in re.findall(r"[\d.]+%", s)) for s in styles]


def test_nodes_are_ordered_by_start_within_their_parent():
    nodes = [
        node("late", 3, 4),
        node("inner b", 2, 3, parent_span_id="outer"),
        node("outer", 0, 3, parent_span_id="the workflow"),
        node("inner a", 1, 2, parent_span_id="outer"),
    ]
    found = [(depth, each.name) for depth, each in in_order(nodes)]
    assert found == [(0, "outer"), (1, "inner a"), (1, "inner b"), (0, "late")]
    circles = [node(name, 0, 1, parent_span_id=parent) for name, parent in ("ab", "ba", "cc")]
    assert sorted(each.name for _, each in in_order(circles)) == ["a", "b", "c"]


def test_bars_are_aligned_in_time():
    html = trace_html([node("a", 0, 1), node("b", 1, 4), node("c", 4, 4)], title="v2")
    assert bars(html) == [(0, 25), (25, 75), (99.5, 0.5)]
    assert "v2 · 3 nodes · 4.00 s" in text_of(html)
    assert "1.00 s" in text_of(html)
    assert "0 ms" in text_of(html)


def test_bar_of_a_node_that_has_not_ended_reaches_the_end():
    html = trace_html([node("a", 0, 2), node("b", 1, None, state="INITIATED")])
    assert bars(html)[1] == (50, 50)
    assert "not ended" in text_of(html)


def test_nodes_without_a_time_have_no_bar_and_come_first():
    naive = NodeRun(name="naive", state="FULFILLED", start=datetime(2026, 11, 24, 12))  # noqa: DTZ001
    html = trace_html([naive, node("aware", 1, 2), node("timeless", None)])
    assert text_of(html).index("timeless") < text_of(html).index("naive")
    assert len(bars(html)) == 2


def test_bar_of_a_node_that_ends_before_it_starts_is_full():
    assert bars(trace_html([node("backwards", 5, 1)])) == [(0, 100)]


def test_trace_reports_model_tokens_cost_and_errors():
    used = {"model": "gpt", "tokens_in": 1200, "tokens_out": 34, "cost_usd": 0.0021}
    failed = node("b", 1, 2, state="REJECTED", error="it broke")
    text = text_of(trace_html([node("a", 0, 1, kind="PROMPT", **used), failed]))
    assert "gpt · 1,200 tokens in · 34 out · $0.0021" in text
    assert "REJECTED" in text
    assert "it broke" in text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_traces_are_harmless(text):
    hostile = {"kind": text, "state": text, "error": text, "model": text, "parent_span_id": text}
    html = trace_html([node(text, 0, 1, **hostile), node(text, None)], title=text)
    assert_harmless(html)
    assert "a[U+202E]b" in text_of(trace_html([node("a\u202eb", 0, 1)]))


def test_trace_is_limited_to_200_nodes():
    html = trace_html([node(f"n{n}", n, n + 1) for n in range(500)])
    assert len(dom(html).select("tr")) == 200
    assert "500 nodes" in text_of(html)
    assert "ws.trace(run) has all" in text_of(html)
    assert text_of(trace_html([])) == "This run has no recorded nodes."


TICKET = {"ticket": "My invoice lists 14 seats"}
LONG_REPLY = "Thanks for writing. We will send a corrected invoice before Friday."


def steps(old, new):
    """Return the listed nodes of v2 against v1: name and what differs."""
    runs = [run("v1", nodes=old), run("v3", nodes=()), run("v2", nodes=new)]
    page = dom(side_by_side_traces(runs, "v2"))
    summaries = page.select(".vnb-step > summary")
    return [[text_of(part) for part in each.find_all(recursive=False)][:2] for each in summaries]


def classify(priority, **fields):
    outputs = {"priority": priority}
    return node("Classify", 1, 2, inputs=TICKET, outputs=outputs, outputs_hash=priority, **fields)


def draft(priority, reply):
    values = {"inputs": {"priority": priority}, "outputs": {"reply": reply}, "outputs_hash": reply}
    return node("Draft", 2, 3, **values)


def test_traces_list_the_values_that_differ_node_by_node():
    guard = node("Guard", 0, 1, inputs=TICKET, outputs={"ok": True}, outputs_hash="1")
    old = guard, classify("high"), draft("high", LONG_REPLY)
    new = guard, classify("normal", model="gpt"), draft("normal", LONG_REPLY.replace("We", "I"))
    assert steps(old, (*new, node("Send", 4, 5))) == [
        ["Guard", "= same"],
        ["Classify", "out priority: high → normal model: new"],
        ["Draft", "in priority: high → normal out reply: +1 \N{MINUS SIGN}1 words"],
        ["Send", "new"],
    ]


def test_first_difference_is_named_and_all_values_unfold():
    runs = [run(tag, nodes=(classify(priority),)) for tag, priority in (("v1", "a"), ("v2", "b"))]
    page = dom(side_by_side_traces(runs, "v2"))
    assert "v2 against v1 first difference at Classify (outputs)" in text_of(page)
    (step,) = page.select(".vnb-step-first")
    columns = [text_of(column) for column in step.select(".vnb-out-run")]
    ticket = f"in ticket {TICKET['ticket']}"
    assert columns == [
        f"v{n} inputs and outputs {ticket} out priority {'ab'[n - 1]}" for n in (1, 2)
    ]


def test_outputs_with_the_same_hash_are_the_same_whatever_their_names():
    of_stream = node("n", 0, 1, outputs={"output 1": "a"}, outputs_hash="1")
    of_spans = node("n", 0, 1, outputs={"text": "a"}, outputs_hash="1")
    assert steps((of_stream,), (of_spans,)) == [["n", "= same"]]


def test_values_that_are_not_stored_are_not_compared():
    stored = draft("high", "one")
    dropped = node("Draft", 2, 3, outputs_hash="one")
    assert steps((classify("a"), stored), (classify("a"), dropped)) == [
        ["Classify", "= same"],
        ["Draft", "values not stored"],
    ]


def test_values_too_long_to_compare_are_listed_without_marks():
    old, new = ([draft("a", letter * 9_000) for _ in range(9)] for letter in "xy")
    page = dom(side_by_side_traces([run("v1", nodes=old), run("v2", nodes=new)], "v2"))
    first, *_, last = page.select(".vnb-step")
    assert "out reply: differs" in text_of(first)
    assert first.select(".vnb-ins")
    assert not last.select(".vnb-ins")
    assert "y" * 9_000 in text_of(last)


def test_traces_without_values_are_side_by_side():
    old, new = (node("n", 0, 1, outputs_hash="1"),), (classify("high"),)
    assert steps(old, new) == []
    html = side_by_side_traces([run("v1", nodes=old), run("v2", nodes=new)])
    assert len(bars(html)) == 2
    assert "in ticket My invoice lists 14 seats out priority high" in text_of(html)


def test_html_of_many_long_outputs_is_bounded():
    outputs = {name: "<" + name * 90_000 for name in "abcdef"} | {"short": "yes"}
    html = side_by_side_html([run("v1", outputs)])
    assert len(html) < 250_000
    values = [value.text for value in dom(html).select(".vnb-out-row > dd")]
    assert [value[:8] for value in values] == ["<aaaaaaa", "<bbbbbbb"] + ["too long"] * 4 + ["yes"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_values_of_nodes_are_harmless(text):
    def hostile(value):
        return (node(text, 0, 1, inputs={text: text}, outputs={text: value, "b": [value]}),)

    runs = [run("v1", nodes=hostile(text)), run(text, nodes=hostile(f"{text}{text}"))]
    assert_harmless(side_by_side_traces(runs))
    assert_harmless(side_by_side_traces(runs[:1]))


def test_only_short_outputs_can_share_a_line():
    page = dom(side_by_side_html([run("v1", {"x": "high", "y": LONG_REPLY, "n": 3, "z": [1]})]))
    rows = [row.select_one("dt").text for row in page.select(".vnb-out-short")]
    assert rows == ["x", "n"]


@pytest.mark.parametrize(
    ("value", "css"), [("high", None), ("low", "vnb-wrong"), (f"{LONG_REPLY}\n", "vnb-prose")]
)
def test_only_short_values_that_are_not_expected_are_red(value, css):
    page = dom(side_by_side_html([run("v1", {"x": value})], expected={"x": "high"}))
    assert page.select_one(".vnb-out-row > dd").get("class") == css
