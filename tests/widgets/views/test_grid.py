"""The grid of a comparison: cells, full cases, ratings, replays, and changes by others."""

import json
import threading

import pytest
from actions_kit import SomeActions
from dom_kit import dom, text_of, texts
from form_kit import classes
from ipywidgets.widgets.widget import _instances
from runs_kit import html_of
from view_kit import FullCase, GridPage, known, rejected, run, wrong
from wire_kit import Page

import vellum_nb as vnb
from vellum_nb.models import NodeRun
from vellum_nb.rendering.format import signed


@pytest.fixture
def page(grid, actions):
    runs = [run(n, "v1") for n in range(4)]
    runs += [run(0, "v2"), wrong(1, "v2"), rejected(2, "v2")]
    return grid(runs, cases=known(*range(4)), actions=actions[0])


def test_cell_shows_verdict_differences_and_chips(page):
    cell = page.cell(2, "v2")
    assert (cell["kind"], cell["word"]) == ("worse", "worse")
    assert "1.50 s" in cell["text"]
    assert "category: account" in cell["text"]
    assert "reply: Thanks for writing." in cell["text"]
    assert cell["chips"] == [
        ("category ✗ expected billing", "bad"),
        ("score 0.00 \N{MINUS SIGN}1.00", "bad"),
    ]


def test_inline_cell_shows_removed_and_new_words(page):
    row = next(row for row in page.rows(inline=True)["rows"] if row["number"] == 2)
    assert "category: billing account" in text_of(row["html"])


def test_cell_of_the_baseline_has_no_verdict(page):
    base = page.cell(2, "v1")
    assert (base["kind"], base["word"]) == ("baseline", "")
    assert base["chips"] == [("category ✓", ""), ("score 1.00", "")]


def test_missing_case_is_never_a_pass(page):
    cell = page.cell(4, "v2")
    assert (cell["kind"], cell["word"]) == ("missing", "missing")
    assert "Not run on v2. It never counts as a pass." in cell["text"]
    assert page.element(4, "v2").select('[data-replay="v2"]')


def test_summary_counts_verdicts_and_missing_answers(page):
    assert "0 better · 1 same · 2 worse · 1 without an answer" in page.release("v2")
    mean = page.summary.select_one('tr[data-release="v2"] [data-label="mean score"]')
    assert mean["title"].endswith(", the 95 % interval, n = 3")


def test_summary_of_a_sweep_that_stopped_early_names_the_confidence_sequence(grid):
    runs = [make(number, tag) for number in range(12) for make, tag in ((run, "v1"), (wrong, "v2"))]
    cases = known(*range(40))
    page = grid(runs, cases=cases, order=[case.case_id for case in cases], stopped_by="score")
    assert "difference in score, 95 % confidence sequence" in text_of(page.summary)


@pytest.fixture
def plotted(grid):
    """Return the grid of v2, which is worse on one case of twelve, and v3, worse on all."""
    runs = [run(number, tag) for number in range(12) for tag in ("v1", "v2")][:-1]
    runs += [wrong(11, "v2"), *(wrong(number, "v3") for number in range(12))]
    return grid(runs, tags=("v1", "v2", "v3"), cases=known(*range(12)))


def test_margin_is_a_band_at_the_same_place_in_all_rows(plotted):
    bands = [band["style"] for band in plotted.summary.select(".vnb-grid-band")]
    assert len(bands) == 4  # of the heading, too
    assert len(set(bands)) == 1
    assert "grey band: margin ±0.05" in plotted.release("v1")


def test_point_of_a_release_is_hollow_unless_it_is_decided(plotted):
    points = [
        (row["data-release"], point["class"].endswith("vnb-grid-hollow"))
        for row in plotted.summary.select("tr[data-release]")
        for point in row.select(".vnb-grid-dot")
    ]
    assert points == [("v2", True), ("v3", False)]
    assert "not decided" in plotted.release("v2")
    assert "not decided" not in plotted.release("v3")


def test_row_of_a_release_has_its_difference_with_the_interval(plotted):
    delta = plotted.whole.comparison.result("v3").delta
    assert signed(delta.mean, digits=2) in plotted.release("v3")
    assert f"{signed(delta.low, digits=2)} to {signed(delta.high, digits=2)}" in plotted.release(
        "v3"
    )


def test_rejected_run_shows_its_error(page):
    cell = page.cell(3, "v2")
    assert "USER_DEFINED_ERROR: no such plan" in cell["text"]
    assert cell["kind"] == "worse"


def test_answer_without_one_of_the_baseline_is_not_compared(grid):
    cell = grid([run(0, "v2")], cases=known(0)).cell(1, "v2")
    assert (cell["kind"], cell["word"]) == ("alone", "nothing to compare with: no answer on v1")


def test_rating_is_stored(page, actions):
    page.act("rate", 2, release="v2", quality=0.25)
    assert page.whole.wait(10)
    assert actions[1] == [("v2-1-0", 0.25, None)]
    assert ("rated 0.25", "") in page.cell(2, "v2")["chips"]
    assert page.wire.customs("status")[-1]["text"] == "Case 2 on v2: rated 0.25"
    assert page.whole.comparison.cases[1].runs["v2"].quality == 0.25


def test_failed_rating_is_shown_in_its_cell(grid):
    def refuse(*_, **__):
        msg = "the history is locked"
        raise vnb.HistoryError(msg)

    page = grid([run(0, "v1"), run(0, "v2")], actions=SomeActions(rate=refuse, trace=None))
    page.act("rate", 1, release="v2", quality=1.0)
    assert page.whole.wait(10)
    cell = page.cell(1, "v2")
    assert "the history is locked" in cell["text"]
    assert "saving" not in cell["text"]


@pytest.mark.parametrize(
    ("kind", "content", "error"),
    [
        ("rate", {"quality": 1.0}, "no workspace to save ratings"),
        ("replay", {}, "no workspace to run cases: make it with ws.compare(...)"),
        ("fail", {"name": "rude", "has": True}, "no workspace to save failures"),
    ],
)
def test_grid_without_a_workspace_refuses_changes(grid, kind, content, error):
    page = grid([run(0, "v1"), run(0, "v2")])
    assert page.state("_head")["can"] == ["full"]
    page.act(kind, 1, release="v2", **content)
    assert error in page.view.error


def test_grid_without_a_workspace_does_not_offer_to_run_a_case(grid):
    page = grid([run(0, "v1"), run(0, "v2"), run(1, "v1")])
    assert not page.element(2, "v2").select("[data-replay]")


def test_missing_case_cannot_be_rated(page):
    page.act("rate", 4, release="v2", quality=1.0)
    assert "Case 4 has not been answered on v2 and cannot be rated" in page.view.error


def test_missing_case_is_run_and_counted(page, actions):
    page.act("replay", 4, release="v2")
    assert page.whole.wait(10)
    assert actions[1] == [("triage", 4, "v2")]
    assert page.cell(4, "v2")["word"] == "identical"
    assert "0 better · 2 same · 2 worse" in page.release("v2")
    assert page.whole.comparison.result("v2").missing == 0


def test_open_case_is_run_again_on_all_releases(page, actions):
    page.whole.open_case(page.whole.comparison.cases[1])
    again = FullCase(page.whole).again
    assert again.tooltip == "Run this case again on v1, v2"
    again.click()
    assert page.whole.wait(10)
    assert actions[1] == [("triage", 2, "v1"), ("triage", 2, "v2")]
    tries = page.whole.comparison.cases[1].tries
    assert {release: len(runs) for release, runs in tries.items()} == {"v1": 2, "v2": 2}
    assert "within the noise 0.50" in text_of(
        FullCase(page.whole).answers
    )  # the mean of both answers


def test_running_case_is_not_run_twice(grid):
    started, go_on, done = threading.Event(), threading.Event(), []

    def run_case(_deployment, case, tag):
        started.set()
        assert go_on.wait(10)
        done.append(tag)
        return [run(case.number - 1, tag, repeat=5)]

    page = grid(
        [run(0, "v1"), run(0, "v2")], actions=SomeActions(run_case=run_case, rate=None, trace=None)
    )
    page.whole.open_case(page.whole.comparison.cases[0])
    for _ in range(2):
        FullCase(page.whole).again.click()
        assert started.wait(10)
    assert text_of(FullCase(page.whole).answers).count("running…") == 2
    go_on.set()
    assert page.whole.wait(10)
    assert done == ["v1", "v2"]
    assert "running…" not in text_of(FullCase(page.whole).answers)


def test_case_of_a_frame_cannot_be_run_again(grid):
    page = grid([run(0, "v1"), run(0, "v2")])
    page.whole.open_case(page.whole.comparison.cases[0])
    assert "vnb-none" in classes(FullCase(page.whole).again)


def test_case_is_not_run_again_on_a_tag_that_has_moved(ws, views):
    def moving(ticket: str) -> str:
        return ticket

    ws.server.deploy(moving, release_tags=["next"])
    ws.run("moving", {"ticket": "a"}, release_tag="next")
    grid = ws.compare("moving", release_tags=["next"]).view()
    views.append(grid)
    ws.server.deploy(moving, release_tags=["next"], description="second")
    before = ws.history.count()
    grid.replay(grid.comparison.cases[0])
    assert grid.wait(10)
    assert "next points at another release" in GridPage(grid).cell(1, "next")["text"]
    assert ws.history.count() == before


def test_opened_case_is_shown_in_full(page):
    page.act("open", 2)
    detail = FullCase(page.whole)
    assert "ticket 1" in text_of(detail.head)
    assert texts(detail.answers, ".vnb-out-run .vnb-tag") == ["v1", "v2"]
    assert detail.bars.controls == ["rate", "trace"]
    page.send(kind="close")
    assert (page.view.opened, FullCase(page.whole).answers) == ("", "")


def test_open_case_compares_the_chosen_release(grid):
    runs = [run(0, "v1"), wrong(0, "v2"), run(0, "v3", outputs={"category": "refund"})]
    page = grid(runs, tags=("v1", "v2", "v3"), cases=known(0))
    for release in ("v2", "v3", "no such release", "v1"):
        page.act("open", 1, release=release)
        chosen = release if release in ("v2", "v3") else "v2"
        answers = FullCase(page.whole).answers
        assert f"{chosen} against v1: new in {chosen}" in text_of(answers)
        assert texts(answers, ".vnb-out-compared .vnb-tag") == [chosen]
    assert "worse 0.00 \N{MINUS SIGN}1.00" in text_of(answers)
    assert "category account expected billing" in text_of(answers)


def test_open_conversation_shows_all_turns_below_the_headings(grid):
    said = [{"conversation_id": tag, "case_id": "talk"} for tag in ("v1", "v2")]
    first = [run(0, tag, turn=1, **same) for tag, same in zip(("v1", "v2"), said, strict=True)]
    last = run(1, "v1", turn=2, **said[0]), wrong(1, "v2", turn=2, **said[1])
    page = grid([*first, *last])
    page.act("open", 1)
    detail = FullCase(page.whole)
    assert text_of(detail.head) == "Case 1 · 2 turns"
    assert texts(detail.answers, ".vnb-out-head .vnb-tag") == ["v1", "v2"]
    assert texts(detail.answers, ".vnb-talk-number") == ["turn 1", "turn 2"]
    assert texts(detail.answers, ".vnb-talk-said") == ["User: ticket 0", "User: ticket 1"]
    assert texts(detail.answers, ".vnb-talk-first") == ["first difference: turn 2"]


@pytest.fixture
def repeated(grid):
    """Return the open conversation of two turns, with three repeats on v1 and two on v2."""
    runs = [
        run(turn, tag, repeat, turn=turn, outputs={"reply": f"{tag} {repeat}"}, **same)
        for tag, count in (("v1", 3), ("v2", 2))
        for repeat in range(count)
        for same in [{"conversation_id": f"{tag}-{repeat}", "case_id": "talk"}]
        for turn in (1, 2)
    ]
    page = grid(runs)
    page.act("open", 1)
    return page


def replies(page):
    return texts(FullCase(page.whole).answers, ".vnb-talk-reply")


def test_open_conversation_says_which_repeat_is_shown(repeated):
    detail = FullCase(repeated.whole)
    heads = texts(detail.answers, ".vnb-out-head .vnb-aside")
    assert [head[-13:].strip() for head in heads] == ["repeat 3 of 3", "repeat 2 of 2"]
    assert replies(repeated) == ["v1 2", "v2 1"] * 2


def test_repeat_of_a_conversation_can_be_chosen(repeated):
    detail = FullCase(repeated.whole)
    assert [label for label, _ in detail.repeat.options] == ["newest answers", "1", "2", "3"]
    assert detail.repeat.label == "newest answers"
    detail.repeat.value = 0
    assert replies(repeated) == ["v1 0", "v2 0"] * 2
    assert [bar["id"] for bar in FullCase(repeated.whole).bars.bars] == ["v1-2-0", "v2-2-0"]
    detail.repeat.value = 2
    assert replies(repeated) == ["v1 2", "not run"] * 2


def test_repeats_of_a_single_turn_are_not_offered(grid):
    page = grid([run(0, "v1"), run(0, "v1", 1), run(0, "v2")])
    page.act("open", 1)
    assert "vnb-none" in classes(FullCase(page.whole).repeat)


@pytest.fixture
def talks(views):
    """Return a workspace, and the open grid of a conversation of two turns."""
    cases = [{"turns": ["My order A-1234 is late", "A refund, please"]}]
    tags = ["v1", "v2"]
    with vnb.connect("local", history=":memory:") as ws:
        grid = ws.sweep("support-bot", cases, release_tags=tags, progress=False).compare().view()
        views.append(grid)
        grid.open_case(grid.comparison.cases[0])
        yield ws, grid


def test_traces_of_all_turns_are_read_on_demand(talks):
    _, grid = talks
    assert FullCase(grid).traces == ""
    read_traces(grid)
    folded = texts(FullCase(grid).traces, ".vnb-trace-fold")
    assert [text[:15] for text in folded] == ["Trace of turn 1", "Trace of turn 2"]
    assert "vnb-none" in classes(FullCase(grid).read)


def test_open_conversation_is_run_again_with_its_script(talks):
    ws, grid = talks
    FullCase(grid).again.click()
    assert grid.wait(30)
    heads = texts(FullCase(grid).answers, ".vnb-out-head .vnb-aside")
    assert ["repeat 2 of 2" in head for head in heads] == [True, True]
    assert ws.history.count() == 8
    (case,) = grid.comparison.cases
    assert [[run.turn for run in runs] for runs in case.tries.values()] == [[2, 2], [2, 2]]


def test_full_row_of_a_conversation_has_the_turn_that_differs_and_all_turns_folded(talks):
    _, grid = talks
    html = GridPage(grid).rows()["rows"][0]["html"]
    assert texts(html, ".vnb-grid-caption > span")[:2] == ["case 1", "turn 1 of 2"]
    assert texts(html, "details > summary") == ["2 turns · first difference of v2: turn 1"]
    assert texts(html, "details .vnb-talk-number") == ["turn 1", "turn 2"]


def test_long_conversation_is_not_in_the_full_row(grid):
    said = {"conversation_id": "a", "case_id": "talk"}
    runs = [run(at, "v1", turn=at + 1, outputs={"reply": "x" * 30_000}, **said) for at in (0, 1)]
    html = grid(runs).rows()["rows"][0]["html"]
    assert texts(html, ".vnb-grid-talk") == ["show all 2 turns"]
    assert len(html) < 40_000


def test_conversation_without_a_script_says_why_it_is_not_run(grid):
    def run_case(_deployment, case, _tag):
        msg = f"the history has no sweep with the script of the conversation {case.case_id}"
        raise vnb.InputError(msg)

    said = {"conversation_id": "a", "case_id": "talk"}
    runs = [run(at, "v1", turn=at + 1, **said) for at in (0, 1)]
    page = grid(runs, actions=SomeActions(run_case=run_case, rate=None, trace=None))
    page.act("replay", 1, release="v2")
    assert page.whole.wait(10)
    assert "no sweep with the script of the conversation talk" in page.cell(1, "v2")["text"]


def test_open_case_can_be_shown_inline(page):
    page.act("open", 2)
    page.rows(inline=True)
    assert "category billing account" in text_of(FullCase(page.whole).answers)


def test_baseline_can_be_changed(page):
    page.send(kind="baseline", release="v2")
    assert [each["name"] for each in page.state("_head")["columns"]] == ["v2", "v1"]
    assert page.cell(2, "v1")["kind"] == "better"
    assert "2 better · 1 same · 0 worse · 1 without an answer" in page.release("v1")
    assert page.whole.comparison.baseline == "v2"
    page.send(kind="baseline", release="v1")
    assert page.cell(2, "v2")["kind"] == "worse"


def test_blind_rating_replaces_the_grid_until_it_is_left(grid, actions):
    import ipywidgets as ipw

    pairs = []

    def view(session):
        pairs.append((session.record.first, session.record.second))
        return ipw.HTML("blind")

    tags = ("v1", "v2", "v3")
    runs = [run(0, tag) for tag in tags]
    page = grid(runs, tags=tags, actions=actions[0], view=view)
    assert "blind" in page.state("_head")["can"]
    for release in ("", "v3"):
        page.send(kind="blind", release=release)
    assert pairs == [("v1", "v2"), ("v1", "v3")]
    drawn, _, place = page.whole.children
    back, rating = place.children
    assert rating.value == "blind"
    assert drawn.layout.display == "none"
    back.click()
    assert (drawn.layout.display, place.children) == (None, ())


def test_grid_without_runs_is_empty(grid):
    empty = grid([])
    assert empty.rows()["rows"] == []
    assert "0 cases" in empty.release("v1")


def test_grid_shows_the_baseline_alone(grid):
    alone = grid([run(0, "v1")], tags=("v1",))
    assert alone.numbers() == [1]
    assert json.dumps(alone.state("_head"))


@pytest.fixture(scope="module")
def server():
    def said(ticket: str) -> str:
        return ticket

    with vnb.LocalServer() as server:
        for tag in ("v1", "v2"):
            server.deploy(said, name="echo", release_tags=[tag], description=tag)
        yield server


@pytest.fixture
def ws(server):
    with vnb.connect(server, history=":memory:") as ws:
        for tag in ("v1", "v2"):
            for ticket in ("a", "b"):
                ws.run("echo", {"ticket": ticket}, release_tag=tag)
        yield ws


def ratings(grid):
    return {
        (case.number, release): run.quality
        for case in grid.comparison.cases
        for release, run in case.runs.items()
        if run.quality is not None
    }


@pytest.fixture
def two_grids(ws):
    grids = [ws.compare("echo", release_tags=["v1", "v2"]).view() for _ in range(2)]
    yield grids
    for grid in grids:
        grid.close()


def test_grid_shows_ratings_of_another_grid(two_grids):
    one, _ = two_grids
    one.rate(one.comparison.cases[0], "v2", 0.25)
    assert all(grid.wait(10) for grid in two_grids)
    assert [ratings(grid) for grid in two_grids] == [{(1, "v2"): 0.25}] * 2


def test_grid_shows_ratings_of_the_workspace(ws, two_grids):
    _, other = two_grids
    case = other.comparison.cases[1]
    other.open_case(case)
    ws.rate(case.runs["v1"], quality=1.0)
    assert all(grid.wait(10) for grid in two_grids)
    assert [ratings(grid) for grid in two_grids] == [{(2, "v1"): 1.0}] * 2
    assert [bar["quality"] for bar in FullCase(other).bars.bars] == [1.0, None]


def test_grid_shows_that_a_rating_was_removed(ws, two_grids):
    run = two_grids[0].comparison.cases[1].runs["v1"]
    ws.rate(run, quality=1.0)
    ws.history.annotate(run.id, quality=None)
    ws.history.annotate(run.id, note="read")
    assert all(grid.wait(10) for grid in two_grids)
    assert [ratings(grid) for grid in two_grids] == [{}] * 2


def test_grid_ignores_runs_of_other_cases(ws, two_grids):
    grid, _ = two_grids
    before = grid.comparison
    ws.run("echo", {"ticket": "c"}, release_tag="v1")
    assert grid.wait(10)
    assert grid.comparison is before


def test_closed_grid_ignores_ratings(ws):
    grid = ws.compare("echo", release_tags=["v1", "v2"]).view()
    grid.close()
    ws.rate(next(iter(ws.history.runs(release_tag="v2"))), quality=1.0)
    assert ratings(grid) == {}
    assert "vellum-nb-grid-runs" not in {thread.name for thread in threading.enumerate()}


def answered(grid):
    return {(case.number, release) for case in grid.comparison.cases for release in case.tries}


ANSWERS = {(number, tag) for number in (1, 2) for tag in ("v1", "v2")}


@pytest.fixture
def replayed(ws):
    """Return a grid whose case 2 is open and has two runs on v2, and their ids, oldest first."""
    grid = ws.compare("echo", release_tags=["v1", "v2"]).view()
    case = grid.comparison.cases[1]
    older = case.runs["v2"].id
    grid.replay(case, "v2")
    assert grid.wait(10)
    grid.open_case(grid.comparison.cases[1])
    newer = grid.comparison.cases[1].runs["v2"].id
    assert newer != older
    yield grid, older, newer
    grid.close()


def test_grid_shows_the_older_run_if_the_newer_is_deleted(ws, replayed):
    grid, older, newer = replayed
    ws.history.delete([newer])
    assert grid.wait(10)
    assert grid.comparison.cases[1].runs["v2"].id == older


def test_grid_shows_a_case_without_runs_as_missing(ws, replayed):
    grid, *both = replayed
    ws.history.delete(both)
    assert grid.wait(10)
    assert answered(grid) == ANSWERS - {(2, "v2")}
    assert grid.comparison.figures.statuses["v2"] == ["same", "missing"]
    assert len(FullCase(grid).bars.bars) == 1


def test_grid_keeps_the_inputs_of_a_case_without_a_run_on_the_baseline(ws, replayed):
    grid, *_ = replayed
    ws.history.delete([grid.comparison.cases[0].runs["v1"].id])
    assert grid.wait(10)
    assert dict(grid.comparison.cases[0].inputs) == {"ticket": "a"}


def test_grid_shows_restored_runs(ws, replayed):
    grid, older, newer = replayed
    for run_id in (newer, older, grid.comparison.cases[0].runs["v1"].id):
        ws.history.delete([run_id])
        assert grid.wait(10)
    for _ in range(3):
        ws.history.undelete()
    assert grid.wait(10)
    assert grid.comparison.cases[1].runs["v2"].id == newer
    assert answered(grid) == ANSWERS
    assert grid.comparison.figures.statuses["v2"] == ["same", "same"]


def test_grid_without_any_run_has_no_answers(ws, replayed):
    grid, *_ = replayed
    ws.history.delete(ws.history.runs())
    assert grid.wait(10)
    assert answered(grid) == set()
    assert not FullCase(grid).answers  # the head says where the case was not run


def test_history_can_be_closed_before_the_grid_has_read_a_change(ws, replayed):
    grid, *_ = replayed
    ws.history.delete(ws.history.runs())
    ws.history.undelete()
    ws.history.close()
    assert grid.wait(10)


def run_louder(ws, *tickets):
    """Deploy v3, whose answers differ, and run it."""

    def louder(ticket: str) -> str:
        return f"{ticket}!"

    ws.server.deploy(louder, name="echo", release_tags=["v3"])
    for ticket in tickets:
        ws.run("echo", {"ticket": ticket}, release_tag="v3")


def test_code_is_read_on_demand(ws):
    run_louder(ws, "a")
    grid = ws.compare("echo", release_tags=["v1", "v3"]).view()
    page = Page(grid.table)
    assert "code" in page.state("_head")["can"]
    assert page.state("code") == ""
    page.send(kind="code")
    assert grid.wait(10)
    code = text_of(page.state("code"))
    assert "v3: 1 file differs" in code
    assert "louder" in code
    grid.close()


def test_closed_views_leave_nothing_behind(ws):
    comparison = ws.compare("echo", release_tags=["v1", "v2"])
    before = set(_instances)
    grid, table = comparison.view(), ws.history.view()
    grid.open_case(grid.comparison.cases[0])
    grid.rate_blind("v2")
    grid.rate_blind()
    table.selected_ids = [each.id for each in ws.history.runs()]
    table.show_side_by_side()
    for view in (grid, table):
        view.close()
    assert set(_instances) == before


@pytest.fixture
def blind_grid(ws):
    """Return a grid whose blind rating began with one choice and was left."""
    run_louder(ws, "a", "b")
    grid = ws.compare("echo", release_tags=["v1", "v3"]).view()
    grid.rate_blind()
    grid.comparison.blind().rate("A")
    buttons(grid)["Back to the grid"].click()
    yield grid
    grid.close()


def buttons(grid):
    """Return the buttons in place of the grid."""
    first = grid.children[2].children[0]
    shown = first.children[1].children if hasattr(first, "children") else [first]
    return {button.description: button for button in shown}


def test_grid_hides_results_while_a_blind_rating_is_open(blind_grid):
    table, _, place = blind_grid.children
    assert table.layout.display == "none"
    hidden = "Results are hidden while the blind rating of v1 and v3 is open."
    assert place.children[0].children[0].value == f"<p>{hidden}</p>"
    assert hidden in html_of(blind_grid)
    assert list(buttons(blind_grid)) == ["Continue rating", "End rating\N{HORIZONTAL ELLIPSIS}"]


def test_blind_rating_continues_in_the_grid(blind_grid):
    buttons(blind_grid)["Continue rating"].click()
    _, rating = blind_grid.children[2].children
    assert (rating.view_model["rated"], rating.view_model["ending"]) == (1, False)


def test_blind_rating_ends_in_the_grid_after_a_question(blind_grid):
    buttons(blind_grid)["End rating\N{HORIZONTAL ELLIPSIS}"].click()
    _, rating = blind_grid.children[2].children
    assert rating.view_model["ending"] is True
    Page(rating).send(kind="finish", step=rating.view_model["step"])
    assert rating.view_model["state"] == "ended"
    buttons(blind_grid)["Back to the grid"].click()
    assert blind_grid.children[0].layout.display is None


def test_grid_shows_results_once_the_rating_has_ended_elsewhere(blind_grid):
    blind_grid.comparison.open_rating.finish()
    assert blind_grid.wait(10)
    assert blind_grid.children[0].layout.display is None


def test_grid_that_is_made_during_a_blind_rating_hides_results(ws, blind_grid):
    grid = ws.compare("echo", release_tags=["v1", "v3"]).view()
    assert grid.children[0].layout.display == "none"
    grid.close()


def test_blind_rating_that_is_left_without_a_choice_hides_nothing(ws):
    run_louder(ws, "a")
    grid = ws.compare("echo", release_tags=["v1", "v3"]).view()
    grid.rate_blind()
    buttons(grid)["Back to the grid"].click()
    assert grid.children[0].layout.display is None
    assert grid.comparison.open_rating is None
    grid.close()


@pytest.mark.parametrize("state", ["STARTED", "CANCELLED", "FAILED"])
def test_cell_without_an_answer_has_the_state_of_its_run(grid, state):
    cell = grid([run(0, "v1"), run(0, "v2", state=state, outputs={})]).cell(1, "v2")
    assert (cell["kind"], cell["word"]) == ("missing", state.lower())
    assert "No answer from v2 in 1 try. It never counts as a pass." in cell["text"]


def steps(ticket: str) -> dict[str, str]:
    return {"reply": ticket.title()}


PROPOSED = ("too short?", "warn")


@pytest.fixture
def graded(ws, views, monkeypatch):
    """Return the page of a grid whose judge proposes the failure "too short" of case 1."""
    monkeypatch.setenv("VELLUM_NB_AUTHOR", "ann")

    def grader(answer: str) -> dict[str, object]:
        return {"score": 1.0, "failures": ["too short"] if answer == "a" else []}

    ws.server.deploy(grader, name="grader")
    with vnb.connect(ws.server, history=":memory:") as named:
        named.history.merge(ws.history)
        judge = named.judge("grader", inputs=lambda run, _: {"answer": run.inputs["ticket"]})
        grid = named.compare("echo", release_tags=["v1", "v2"], metrics=judge).view()
        page = GridPage(grid)
        page.history = named.history
        yield page
        grid.close()


def fail(page, number, name, *, has=True):
    page.act("fail", number, release="v2", name=name, has=has)
    assert page.whole.wait(10)


@pytest.fixture
def failed(graded):
    """Return the page after failures of both cases on v2 were named."""
    for number, name in ((1, "too short"), (2, " rude  reply "), (2, "too short")):
        fail(graded, number, name)
    return graded


def test_failure_of_a_judge_is_proposed(graded):
    assert "fail" in graded.state("_head")["can"]
    assert PROPOSED in graded.cell(1, "v2")["chips"]
    assert graded.state("_head")["failures"]["values"] == [("too short", "too short (1)")]


def test_proposed_failure_is_confirmed_on_one_release(failed):
    chips = failed.cell(1, "v2")["chips"]
    assert ("too short", "bad") in chips
    assert PROPOSED not in chips
    assert PROPOSED in failed.cell(1, "v1")["chips"]
    (chip,) = failed.element(1, "v2").select('[title*="named by ann"]')
    assert text_of(chip) == "too short"


def test_open_case_shows_failures_below_the_outputs(graded):
    grid = graded.whole
    grid.open_case(grid.comparison.cases[0])
    fail(graded, 1, "<b>rude</b>")
    rows = dom(FullCase(grid).answers).select(
        ".vnb-out-grid > .vnb-out-run .vnb-out-row:last-child"
    )
    assert [text_of(row) for row in rows] == [
        "failures too short? Name a failure Add a note",
        "failures <b>rude</b> too short? Name a failure Add a note",
    ]


def test_failures_are_stored_as_tags_of_the_run(failed):
    run = failed.whole.comparison.cases[1].runs["v2"]
    assert run.tags == ("failure@ann:rude reply", "failure@ann:too short")
    assert failed.history.get(run.id).tags == run.tags
    names = failed.rows()["rows"][1]["failures"]["v2"]
    assert names == [["rude reply", "rude reply", False], ["too short", "too short", False]]


def note(page, text):
    page.act("note", 1, release="v2", text=text)
    assert page.whole.wait(10)


def test_note_is_stored_with_the_run(graded):
    note(graded, " counts <b>nothing</b> ")
    run = graded.whole.comparison.cases[0].runs["v2"]
    assert graded.history.get(run.id).note == "counts <b>nothing</b>"
    assert graded.rows()["rows"][0]["notes"] == {"v2": "counts <b>nothing</b>"}


def test_open_case_shows_the_note(graded):
    grid = graded.whole
    grid.open_case(grid.comparison.cases[0])
    note(graded, "counts <b>nothing</b>")
    (shown,) = dom(FullCase(grid).answers).select(".vnb-case-note")
    assert text_of(shown) == "counts <b>nothing</b>"


@pytest.mark.parametrize("text", ["", "odd"])
def test_elements_of_an_open_case_are_closed(graded, text):
    note(graded, text)
    graded.act("open", 1)
    html = FullCase(graded.whole).answers
    assert html.count("<div") == html.count("</div>") > 0


def test_empty_note_is_removed(graded):
    note(graded, "odd")
    note(graded, "")
    assert graded.history.get(graded.whole.comparison.cases[0].runs["v2"].id).note is None


@pytest.mark.parametrize("text", [7, "x" * 2_001])
def test_invalid_note_is_refused(graded, text):
    graded.act("note", 1, release="v2", text=text)
    assert "a note is a text of at most 2,000 characters" in graded.state("error")


def add_to_set(page, name):
    page.act("add_to_set", 1, name=name)
    assert page.whole.wait(10)
    return page.wire.customs("outcome")[-1]


def test_case_is_added_to_a_case_set_once(graded, ws):
    assert add_to_set(graded, " weekly ")["text"] == "weekly, version 1: 1 added"
    assert add_to_set(graded, "weekly")["text"] == "weekly, unchanged: 1 already there"
    with vnb.connect(ws.server, history=graded.history) as opened:
        (case_id,) = opened.case_set("weekly").frame().index
    assert case_id == graded.whole.comparison.cases[0].case_id


def test_case_sets_of_the_deployment_are_offered(graded):
    add_to_set(graded, "weekly")
    graded.act("case_sets", 1)
    assert graded.whole.wait(10)
    assert graded.wire.customs("case_sets")[-1]["names"] == ["weekly"]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        (7, "7 is not the name of a case set"),
        ("x" * 501, "is not the name of a case set"),
        ("x" * 201, "a text of at most 200 characters"),
        (" ", "a text of at most 200 characters"),
    ],
)
def test_invalid_name_of_a_case_set_is_refused(graded, name, error):
    assert error in add_to_set(graded, name)["error"]


@pytest.fixture
def talk(ws, views):
    """Return the sweep of a conversation of two turns on two releases."""

    def bot(message: str) -> str:
        return message.upper()

    ws.server.deploy(bot, name="bot", release_tags=["v1", "v2"])
    turns = [{"message": "hello", "expected.output": "HELLO"}, "bye"]
    return ws.sweep("bot", [{"turns": turns}], release_tags=["v1", "v2"], progress=False)


def added_rows(ws, view):
    page = GridPage(view)
    assert add_to_set(page, "chats")["text"] == "chats, version 1: 1 added"
    view.close()
    frame = ws.case_set("chats").frame()
    assert set(frame.index) == {view.comparison.cases[0].case_id}
    return frame[["input.message", "expected.output"]].fillna("").to_numpy().tolist()


def test_conversation_is_added_to_a_case_set_with_its_script(ws, talk):
    assert added_rows(ws, talk.compare().view()) == [["hello", "HELLO"], ["bye", ""]]


def test_conversation_that_no_sweep_planned_is_added_with_its_turns(ws, talk):
    for turn in talk.runs():
        rating = {"desired": {"output": "x"}} if turn.turn == 1 else {"quality": 1}
        ws.history.annotate(turn.id, **rating)
    with vnb.connect(ws.server, history=":memory:") as other:
        other.history.merge(ws.history.runs())
        view = other.compare("bot", release_tags=["v1", "v2"]).view()
        assert added_rows(other, view) == [["hello", "x"], ["bye", "BYE"]]


def test_conversation_that_lacks_a_turn_is_not_added(grid):
    turns = [run(1, tag, turn=2, conversation_id=tag, case_id="talk") for tag in ("v1", "v2")]
    actions = SomeActions(trace=None, rate=None, add_cases=None)
    error = add_to_set(grid(turns, actions=actions), "weekly")["error"]
    assert error == "Case 1 cannot be added: the history lacks some of its 2 turns"


def test_sweep_of_an_added_conversation_has_its_case(talks):
    ws, grid = talks
    assert add_to_set(GridPage(grid), "weekly")["text"] == "weekly, version 1: 1 added"
    sweep = ws.sweep("support-bot", ws.case_set("weekly"), release_tags=["v1"], progress=False)
    assert {run.case_id for run in sweep.runs()} == {grid.comparison.cases[0].case_id}


def test_naming_failures_does_not_move_the_cases(graded):
    before = graded.numbers()
    fail(graded, 2, "too short")
    assert graded.numbers() == before


def test_cases_are_filtered_by_failure(failed):
    assert failed.numbers(failures=["rude reply"]) == [2]
    assert failed.numbers(failures=["rude reply", "too short"]) == failed.numbers() == [1, 2]
    assert failed.numbers(failures=["no"]) == []


def test_failure_is_removed(failed):
    fail(failed, 2, "too short", has=False)
    assert failed.whole.comparison.cases[1].runs["v2"].tags == ("failure@ann:rude reply",)


def test_invalid_failures_are_refused(graded):
    fail(graded, 2, "x" * 81)
    assert "give 1 to 80 printable characters" in graded.cell(2, "v2")["text"]
    graded.act("fail", 2, release="v2", name=7, has=True)
    assert "7 is not a name" in graded.view.error
    graded.act("fail", 2, release="v2", name="odd", has="yes")
    assert "'yes' is neither true nor false" in graded.view.error
    graded.numbers(failures=["odd"] * 201)
    assert "'failures'" in graded.view.error


@pytest.mark.parametrize(
    ("options", "foot"),
    [
        ({}, "p of the mean difference: Student's paired test"),
        (
            {"cluster": "ticket"},
            "p of the mean difference: Student's test over clusters, by ticket",
        ),
    ],
)
def test_foot_names_the_test_of_the_p_value(ws, options, foot):
    length = vnb.metrics.length()
    compared = ws.compare("echo", release_tags=["v1", "v2"], metrics=length, **options)
    grid = compared.view()
    assert GridPage(grid).state("_head")["foot"] == foot
    grid.close()


def test_failure_of_a_missing_case_is_refused(grid):
    actions = SomeActions(rate=None, trace=None, name_failure=lambda each, **_: each)
    page = grid([run(0, "v1")], actions=actions)
    page.act("fail", 1, release="v2", name="rude", has=True)
    assert "Case 1 has not been answered on v2" in page.view.error


@pytest.fixture
def traced(ws, views):
    """Return a grid of a deployment whose second release changes the outputs of its node."""
    for tag in ("v1", "v2"):
        ws.server.deploy(steps, name="steps", release_tags=[tag], description=tag)
    ws.run("steps", {"ticket": "a"}, release_tag="v1")

    def louder(ticket: str) -> dict[str, str]:
        return {"reply": ticket.upper() * 2}

    louder.__name__ = louder.__qualname__ = "steps"
    ws.server.deploy(louder, name="steps", release_tags=["v2"])
    ws.run("steps", {"ticket": "a"}, release_tag="v2")
    grid = ws.compare("steps", release_tags=["v1", "v2"]).view()
    grid.open_case(grid.comparison.cases[0])
    yield grid
    grid.close()


def read_traces(grid):
    FullCase(grid).read.click()
    assert grid.wait(10)


def test_traces_are_read_on_demand(traced):
    assert FullCase(traced).traces == ""
    assert "vnb-none" not in classes(FullCase(traced).read)
    read_traces(traced)
    assert "vnb-none" in classes(FullCase(traced).read)


def test_traces_side_by_side_mark_the_first_difference(traced):
    read_traces(traced)
    traces = dom(FullCase(traced).traces)
    assert "Trace v2 against v1 first difference at steps (outputs)" in text_of(traces)
    changes = [text_of(step) for step in traces.select(".vnb-step-first .vnb-step-changes")]
    assert changes == ["out reply: A → AA"]


def test_first_changed_node_is_in_the_summary(ws, traced):
    read_traces(traced)
    assert "first changed node: steps 1, of 1 case traced" in GridPage(traced).release("v2")
    assert traced.comparison.frame()["first_changed_node@v2"].tolist() == ["steps"]
    assert ws.compare("steps").summary(columns="all")["traced"].tolist()[1] == 1


@pytest.mark.parametrize("has_actions", [True, False])
def test_open_case_has_a_button_to_name_a_failure_of_each_answer(grid, actions, has_actions):
    page = grid([run(0, "v1"), wrong(0, "v2")], actions=actions[0] if has_actions else None)
    page.whole.open_case(page.whole.comparison.cases[0])
    buttons = dom(FullCase(page.whole).answers).select('[data-press="f"]')
    assert [each["data-release"] for each in buttons] == (["v1", "v2"] if has_actions else [])


def test_open_case_without_failures_or_workspace_has_no_row_of_failures(grid):
    page = grid([run(0, "v1"), wrong(0, "v2")])
    page.whole.open_case(page.whole.comparison.cases[0])
    assert "failures" not in text_of(FullCase(page.whole).answers)


@pytest.mark.parametrize(("name", "is_shown"), [("Classify", True), ("node-{}", False)])
def test_first_changed_node_needs_names_that_recur(grid, name, is_shown):
    runs = [
        run(n, tag, nodes=(NodeRun(name=name.format(n), state="FULFILLED", outputs_hash=tag),))
        for n in range(8)
        for tag in ("v1", "v2")
    ]
    assert ("first changed node" in grid(runs).release("v2")) is is_shown
