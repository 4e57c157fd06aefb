"""The live view of a sweep, without a browser."""

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from dom_kit import dom, text_of, texts
from html_kit import HOSTILE, assert_harmless
from runs_kit import bundle_of, html_of, progress_of
from sweep_view_kit import PATIENCE, press, until
from view_kit import GridPage
from wire_kit import Page

import vellum_nb as vnb
from vellum_nb.errors import HistoryError
from vellum_nb.models.sweeps import SweepRecord
from vellum_nb.sweep.progress import Progress, TagProgress
from vellum_nb.sweep.sweep import control_of
from vellum_nb.widgets.sweep_view import more_cases, sweep_view_model


def ended(model):
    return model["sums"][0]["value"]


def rows(view):
    return dom(view.panel.parts["figures"]).select(".vnb-sweep-output")


def test_view_follows_a_sweep_to_its_end(gated):
    view = gated.sweep().view()
    until(view, lambda model: sum(tag["running"] for tag in model["tags"]) == 4)
    gated.gate.release(3)
    model = until(view, lambda model: ended(model) == "3 of 12")
    assert model["state"] == "running"
    assert model["plan"] == "6 cases"
    assert [tag["note"] for tag in model["tags"]] == ["baseline · = production", "= LATEST"]
    ended_alone = [run for run in model["latest"] if "same error" not in run["short"]]
    assert {run["case"] for run in ended_alone} <= {f"case {n}" for n in range(1, 7)}
    gated.gate.release(9)
    assert view.sweep.view() is view  # however often it is called
    model = until(view, lambda model: model["state"] == "done")
    assert model["status"] == "done: 10 fulfilled, 2 failed"
    assert model["resumed"] == []
    assert view.wait(PATIENCE)
    assert not any(t.name == "vellum-nb-sweep-view" for t in threading.enumerate())


def test_runs_with_one_error_are_one_row(gated):
    gated.gate.release(100)
    cases = [{"ticket": f"bad {number}"} for number in range(8)]
    view = gated.ws.sweep("triage", cases, release_tags=["v1"], progress=False).view()
    assert view.wait(PATIENCE)
    (latest,) = view.panel.view_model["latest"]
    assert (latest["short"], latest["text"]) == ("8 runs: same error", "this is unreadable")


def test_other_tags_of_a_release_are_sorted(gated):
    gated.server.deploy(gated.triage, name="triage", release_tags=["v3", "staging", "canary"])
    release = gated.ws.client.retrieve_workflow_deployment_release("triage", "v3")
    assert release.other_tags("v3") == ("canary", "staging", "LATEST")


def test_sweep_that_is_cut_off_early_has_no_rate(gated):
    view = gated.sweep().view()
    until(view, lambda model: sum(tag["running"] for tag in model["tags"]) == 4)
    assert len(rows(view)) == 5
    press(view, "cut")
    model = until(view, lambda model: model["state"] == "stopped")
    rate = model["sums"][1]
    assert (rate["value"], rate["below"]) == ("\u2014", "")
    assert view.wait(PATIENCE)
    assert rows(view) == []
    assert "none in this session" in text_of(view.panel.parts["figures"])


def test_buttons_pause_and_resume(gated):
    view = gated.sweep().view()
    until(view, lambda model: sum(tag["running"] for tag in model["tags"]) == 4)
    press(view, "pause")
    until(view, lambda model: model["state"] == "paused")
    gated.gate.release(4)
    until(view, lambda model: ended(model) == "4 of 12" and model["status"] == "paused")
    press(view, "resume")
    until(view, lambda model: sum(tag["running"] for tag in model["tags"]) == 4)


def test_sweep_that_was_cut_off_is_resumed(gated):
    sweep = gated.sweep()
    view = sweep.view()
    gated.gate.release(4)
    until(view, lambda model: ended(model) == "4 of 12")
    until(view, lambda model: sum(tag["running"] for tag in model["tags"]) == 4)
    press(view, "stop")
    until(view, lambda model: model["state"] == "stopping")
    press(view, "cut")
    model = until(view, lambda model: model["state"] == "stopped")
    assert model["notice"] == ""
    assert view.wait(PATIENCE)
    press(view, "resume")
    gated.gate.release(100)
    model = until(view, lambda model: model["state"] == "done")
    now = progress_of(sweep)
    assert (now.earlier, now.adopted) == (4, 0)  # 4 were cut off, and are run again
    line = "".join(part for part, _ in model["resumed"])
    assert line.startswith(f"resumed: {now.earlier} runs found in the history, ")
    assert line.endswith(", 0 sent twice")


def test_stopped_sweep_shows_the_reason(gated):
    view = gated.sweep(limits={"stop_after_failures": 1}).view()
    gated.gate.release(100)
    model = until(view, lambda model: model["state"] == "stopped")
    assert model["notice"] == "Stopped: stop_after_failures=1 is reached"
    assert model["status"].endswith("; it continues with a higher stop_after_failures, or none")
    assert not model["decided"]


def test_decided_sweep_has_nothing_to_resume(gated):
    gated.server.deploy(lambda ticket: {"reply": ticket}, name="triage", release_tags=["v3"])
    gated.gate.release(1000)
    cases = [{"ticket": f"ticket {n}"} for n in range(30)]
    options = {"release_tags": ["v1", "v3"], "stop_when": vnb.StopWhen(metric="length")}
    model = gated.ws.sweep("triage", cases, **options, progress=False).view().panel.view_model
    assert (model["state"], model["decided"]) == ("stopped", True)
    assert model["notice"].startswith("Ended: decided by length after")
    assert model["status"].endswith("; ws.open_sweep(…, stop_when=None).resume() runs the rest")


def test_closed_view_leaves_the_sweep_running(gated):
    sweep = gated.sweep()
    view = sweep.view()
    view.close()
    view.close()
    assert not any(t.name == "vellum-nb-sweep-view" for t in threading.enumerate())
    gated.gate.release(100)
    assert sweep.wait(PATIENCE).state == "done"
    assert ended(view.panel.view_model) != "12 of 12"


def test_invalid_messages_are_ignored(gated):
    view = gated.sweep().view()
    for kind in (None, "close", 3, ["pause"], {"kind": "pause"}):
        press(view, kind)
    Page(view.panel).send_data(method="custom", content="pause")
    view.panel.set_state({"view_model": {}, "error": "<b>", "hint": "x"})
    assert (view.panel.error, view.panel.hint) == ("", "")
    assert view.sweep.state == "running"


def test_error_of_a_sweep_is_shown(gated):
    sweep = gated.sweep()
    view = sweep.view()
    gated.ws.history.close()
    gated.gate.release(100)
    model = until(view, lambda model: model["state"] == "stopped")
    assert model["notice"].startswith("Stopped: The history :memory: was closed")
    with pytest.raises(HistoryError):
        sweep.wait(PATIENCE)
    press(view, "resume")
    assert "closed" in view.panel.error


def test_finished_sweep_offers_the_comparison_in_place_of_pause(finished, gated):
    view = finished.view()
    assert view.wait(PATIENCE)
    model = view.panel.view_model
    assert (model["compare"], model["compared"]) == ("Compare", False)
    assert model["facts"].startswith("triage · 12 runs in ")
    comparison = finished.compare()
    head = comparison.result("v2").remark.partition(" on ")[0]
    assert head in text_of(view.panel.parts["verdicts"])  # the sentence of the comparison
    count = gated.ws.history.count()
    press(view, "compare")
    assert view.wait(PATIENCE)
    assert view.comparison_view in view.children
    assert view.panel.view_model["compared"]
    grid = view.comparison_view
    press(view, "compare")
    assert view.wait(PATIENCE)
    assert grid.is_closed
    assert view.children == (view.panel,)
    assert gated.ws.history.count() == count  # nothing was executed


def swept(gated, **options):
    """Return the view of a finished sweep with expected values."""
    cases = [{"ticket": f"ticket {n}", "expected.category": "<b>billing</b>"} for n in range(6)]
    gated.gate.release(100)
    known = {"release_tags": ["v1", "v2"], "progress": False}
    view = gated.ws.sweep("triage", cases, **(known | options)).view()
    assert view.wait(PATIENCE)
    return view


def test_verdict_is_the_sentence_of_the_decision(gated):
    view = swept(gated, repeats=2)
    decision = view.sweep.compare().decide()["v2"]
    sentence = text_of(view.panel.parts["verdicts"])
    assert decision.sentence in sentence
    assert "about 220 more cases would decide." in sentence
    assert sentence.endswith("880 calls Add cases…")  # of two releases, twice each
    table = dom(view.panel.parts["tags"])
    assert text_of(table.select(".vnb-sweep-heads")[0]).startswith("release tag6 cases: better")
    assert text_of(table.select(".vnb-grid-bar")[0]) == "= 6"


def test_button_of_a_verdict_opens_the_cases_behind_it(gated):
    view = swept(gated)
    press(view, "compare", show="different", release="v2", metric="score")
    assert view.wait(PATIENCE)
    table = view.comparison_view.table
    assert (table.states, table.release) == (["different"], "v2")
    press(view, "compare", show="missing", release="v2", metric="")
    assert view.wait(PATIENCE)
    assert table is view.comparison_view.table
    assert table.states == ["missing"]
    press(view, "compare", show="<script>", release="v2", metric="")
    assert view.wait(PATIENCE)
    assert "'<script>' is not a group of cases" in view.panel.error
    assert table.states == ["missing"]


def test_undecided_verdict_shows_the_call_that_adds_cases(gated):
    view = swept(gated, repeats=2)
    press(view, "compare", show="add", release="v2", metric="")
    assert view.wait(PATIENCE)
    call = texts(view.panel.parts["adding"], "code")[1]
    assert call.startswith("ws.sweep('triage', cases, release_tags=['v1', 'v2'], repeats=2, ")
    tickets = [*view.sweep.frame()["input.ticket"].unique(), "new"]
    cases = [{"ticket": ticket} for ticket in tickets]
    eval(call, {"ws": gated.ws, "cases": cases})  # noqa: S307
    assert gated.ws.history.count() == 24 + 4  # nothing ran again
    press(view, "compare", show="add", release="v2", metric="")
    assert view.wait(PATIENCE)
    assert view.panel.parts["adding"] == ""


def test_grid_of_an_undecided_sweep_shows_the_call_that_adds_cases(gated):
    view = swept(gated, repeats=2)
    press(view, "compare")
    assert view.wait(PATIENCE)
    page = GridPage(view.comparison_view)
    ((_, sentence, step),) = page.verdicts
    assert sentence.endswith("880 calls Add cases…")
    assert step["data-show"] == "add"
    page.send(kind="add", release="v2")
    assert view.wait(PATIENCE)
    assert page.state("adding") == view.panel.parts["adding"] != ""
    page.send(kind="add", release="v2")
    assert view.wait(PATIENCE)
    assert page.state("adding") == ""


def test_deleted_runs_do_not_count_in_the_verdict(gated):
    view = swept(gated)
    before = view.panel.parts["verdicts"]
    gated.ws.history.delete([run for run in view.sweep.runs() if run.release_tag == "v2"][:2])
    assert view.wait(PATIENCE)
    assert view.panel.parts["verdicts"] != before
    assert view.sweep.compare().decide()["v2"].sentence in text_of(view.panel.parts["verdicts"])
    assert view.panel.view_model["notice"] == "Deleted since: 2 runs, see history.deletions()"
    gated.ws.history.undelete()
    assert view.wait(PATIENCE)
    assert (view.panel.parts["verdicts"], view.panel.view_model["notice"]) == (before, "")


def test_second_click_does_not_make_another_blind_rating(finished):
    view = finished.view()
    ratings = []
    for _ in range(2):
        press(view, "compare", show="blind", release="v2", metric="")
        assert view.wait(PATIENCE)
        ratings.append(view.comparison_view.children[-1].children[-1])
    assert ratings[0] is ratings[1]
    assert not ratings[0].is_closed


def test_replay_without_cases_says_so(finished):
    view = finished.compare().replay([], release_tag="v2").view()
    assert view.panel.view_model["notice"] == "No cases: nothing was replayed"
    assert text_of(html_of(view)).endswith("no cases, so nothing was replayed")


def test_releases_of_a_moved_tag_have_no_estimated_calls(gated):
    view = swept(gated, repeats=2)
    decision = view.sweep.compare().decide()["v2"]
    of_sweep = control_of(view.sweep).record, control_of(view.sweep).progress()
    assert more_cases(decision, *of_sweep, remaining=0) == ("Add cases…", "880 calls")
    assert more_cases(decision, *of_sweep, remaining=9) == ("Run 9 more", "36 calls")
    assert more_cases(replace(decision, release="v2 (2)"), *of_sweep, remaining=0) is None


def test_estimated_calls_are_those_of_all_release_tags(gated):
    view = swept(gated, repeats=2)
    decision = view.sweep.compare().decide()["v2"]
    now = control_of(view.sweep).progress()
    of_three = replace(now, tags=(*now.tags, replace(now.tags[1], release_tag="v3")))
    offer = more_cases(decision, control_of(view.sweep).record, of_three, remaining=0)
    assert offer.cost == "1,320 calls"


def test_estimated_calls_of_further_conversations_are_those_of_their_turns(gated):
    gated.gate.release(100)
    talks = [{"turns": ["a"], "expected.category": "x"}, {"turns": ["b", "c"]}]
    sweep = gated.ws.sweep("triage", talks, release_tags=["v1", "v2"], progress=False)
    view = sweep.view()
    assert view.wait(PATIENCE)
    decision = replace(sweep.compare().decide()["v2"], more=20)
    assert view._more_cases(decision) == ("Add cases…", "up to 60 calls")
    view._on_add("v2")
    assert view.wait(PATIENCE)
    assert "Run further conversations alone" in text_of(view.panel.parts["adding"])


def test_comparison_that_is_opened_again_has_later_ratings(gated):
    view = swept(gated)
    for _ in range(2):
        press(view, "compare")
        assert view.wait(PATIENCE)
    assert view.comparison_view is None
    gated.ws.rate(view.sweep.runs()[0], quality=1.0)
    press(view, "compare")
    assert view.wait(PATIENCE)
    runs = view.comparison_view.comparison.figures.runs
    assert [run.quality for run, *_ in runs if run.quality is not None] == [1.0]


def test_finished_sweep_on_one_release_has_no_verdict(gated):
    view = swept(gated, release_tags=["v1"])
    assert view.panel.view_model["compare"] == "Open results"
    assert view.panel.parts["verdicts"] == ""
    press(view, "compare")
    assert view.wait(PATIENCE)
    assert view.comparison_view.comparison.releases == ("v1",)


def test_sweep_that_runs_again_has_no_verdict_until_it_ends(finished, gated):
    view = finished.view()
    assert view.wait(PATIENCE)
    while gated.gate.acquire(blocking=False):
        pass
    finished.retry_failed(background=True)
    model = until(view, lambda model: model["state"] == "running")
    assert (model["compare"], view.panel.parts["verdicts"]) == ("", "")
    gated.gate.release(100)
    until(view, lambda model: model["compare"] == "Compare")
    assert view.wait(PATIENCE)
    assert "v2" in text_of(view.panel.parts["verdicts"])


def test_finished_sweep_of_a_closed_history_shows_its_counts(finished, gated):
    gated.ws.history.close()
    view = finished.view()
    assert view.wait(PATIENCE)
    assert (view.panel.parts["verdicts"], view.panel.error) == ("", "")
    assert len(dom(view.panel.parts["tags"]).select(".vnb-sweep-row")) == 3
    press(view, "compare")
    assert view.wait(PATIENCE)
    assert "was closed" in view.panel.error
    assert view.comparison_view is None


def test_closed_view_closes_its_comparison(finished):
    view = finished.view()
    press(view, "compare")
    assert view.wait(PATIENCE)
    grid = view.comparison_view
    view.close()
    assert grid.is_closed


@pytest.fixture
def finished(gated):
    gated.gate.release(100)
    sweep = gated.sweep()
    sweep.wait(PATIENCE)
    return sweep


def test_static_form_of_the_view(finished):
    view = finished.view()
    data = bundle_of(view)
    assert data["text/plain"] == repr(view) == "SweepView(triage on v1, v2: 12 runs)"
    assert text_of(data["text/html"]) == (
        "Sweep of triage on v1, v2: 6 cases, 12 runs inputs: ticket"
    )


def test_static_form_of_the_sweep(finished):
    data = bundle_of(finished)
    assert data["text/plain"] == repr(finished)
    assert "application/vnd.jupyter.widget-view+json" in data
    assert text_of(data["text/html"]).startswith("Sweep of triage: 6 cases, done, 12 of 12 runs")
    assert len(dom(data["text/html"]).select("tr")) == 3
    assert_harmless(data["text/html"].replace("text-align: left;", "text-align: right;"))


def test_view_escapes_text_without_showing_the_key(gated):
    def echo(ticket: str) -> str:
        return ticket

    name = "<img src=x>\u202etriage"
    gated.server.deploy(echo, name="triage-2", release_tags=["v1"])
    cases = [{"ticket": text, name: "label"} for text in HOSTILE]
    sweep = gated.ws.sweep("triage-2", cases, release_tags=["v1"], progress=False)
    view = sweep.view()
    assert view.wait(PATIENCE)
    sent = json.dumps(view.panel.get_state(["view_model", "parts", "hint", "error"]))
    assert gated.server.api_key not in sent + repr(view) + html_of(sweep)
    assert_harmless(html_of(sweep).replace("left;", "right;"))


AGAIN = "1 sent again: the server knew no execution of"
LOST = datetime(2026, 11, 25, 15, 48, 39, tzinfo=UTC)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"found": 214}, "resumed: 214 runs found in the history, 0 sent twice"),
        (
            {"found": 4, "adopted": 3},
            "resumed: 1 run found in the history, 3 looked up and already executed, 0 sent twice",
        ),
        ({"found": 2, "resent": 1}, f"resumed: 2 runs found in the history, {AGAIN} it"),
        ({"lost": LOST}, "resumed: 0 runs found in the history, 0 sent twice"),
        ({"found": 9, "reused": 9}, "9 runs reused from earlier ones"),
        ({"found": 2, "adopted": 2}, "2 looked up and already executed"),
        ({"resent": 3}, f"{AGAIN} them".replace("1", "3")),
        ({"found": 5, "began": None}, "5 runs found in the history"),
        ({"found": 5, "again": 1}, "failed runs that run again: 5 runs kept, 0 sent twice"),
    ],
)
def test_earlier_runs_are_counted_by_origin(counts, expected):
    plan = {"release_tags": ("v1",), "repeats": 3, "cases": 120, "signature": ""}
    again = counts.pop("again", 0)
    record = SweepRecord(id="1", deployment="triage", created=LOST, round=again, **plan)
    tags = (TagProgress("v1", 360, 300, running=12, median_s=2.3),)
    now = Progress("running", tags, **{"began": LOST} | counts)
    resumed = sweep_view_model(record, now, aliases={}, numbers={})["resumed"]
    assert "".join(part for part, _ in resumed) == expected
