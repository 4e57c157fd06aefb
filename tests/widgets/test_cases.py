"""Run on a file of cases in a form, without a browser; on a real server and history."""

import json
import threading
from dataclasses import replace
from typing import TypedDict

import comm
import pytest
from dom_kit import text_of, texts
from form_kit import SPEC, classes, parts, shown, tick, tree
from html_kit import HOSTILE, assert_harmless
from ipywidgets import HTML
from ipywidgets.widgets.widget import _instances
from runs_kit import progress_of
from sweep_view_kit import PATIENCE
from wire_kit import Page, Wire, changed

import vellum_nb as vnb
from vellum_nb.errors import HistoryError, InputError, InputProblem
from vellum_nb.sweep.cases import CaseFile
from vellum_nb.sweep.plan import SweepPlan, TagPlan
from vellum_nb.widgets.cases import case_plan_html, problems_html
from vellum_nb.widgets.spec import TagChoice
from vellum_nb.widgets.sweep_view import SweepView

GOOD = b"ticket\ncharged twice\nno login\n"


class Cases:
    """The controls of the section for cases."""

    def __init__(self, form):
        self.form = form
        assert parts(form, "vnb-case-run") == []  # made when it is opened
        parts(form, "vnb-mode")[0].value = "File of cases"
        self.section = form._cases
        [self.run] = parts(form, "vnb-case-run")
        self.first, self.repeats = parts(form, "vnb-case-number")

    @property
    def plan(self):
        assert self.section.wait(PATIENCE)
        return text_of(parts(self.form, "vnb-case-plan")[0].value)

    @property
    def line(self):
        """Return the text next to Run."""
        assert self.section.wait(PATIENCE)
        return text_of(parts(self.form, "vnb-case-state")[0].value)

    @property
    def label(self):
        assert self.section.wait(PATIENCE)
        return self.run.description

    def choose(self, file, name="cases.csv"):
        if isinstance(file, bytes):
            page = Page(parts(self.form, "vnb-uploader")[0])
            page.send(kind="start", id="1", name=name, size=len(file), type="")
            page.send([file], kind="piece", id="1")
            return
        [how] = [each for each in parts(self.form, "vnb-how") if "Path" in each.options]
        how.value = "Path"
        [row] = parts(self.form, "vnb-media-row")
        row.children[0].value = file

    def question(self, column):
        """Return the widgets of the row on a doubtful column: its text and the choice."""
        assert self.section.wait(PATIENCE)
        rows = (row.children for row in parts(self.form, "vnb-column"))
        start = f"Column {column} "
        return next(row for row in rows if text_of(row[0].value).startswith(start))

    def row(self, column):
        """Return the text next to the choice."""
        return text_of(self.question(column)[0].value)

    def uses(self, column):
        return [label for label, _ in self.question(column)[1].options]

    def decide(self, column, label):
        """Choose the use of a doubtful column."""
        self.question(column)[1].label = label

    def becomes(self, label):
        """Wait until the button has this label."""
        assert changed(self.run, "description", label.__eq__, PATIENCE), self.run.description
        assert self.section.wait(PATIENCE)

    def swept(self):
        """Click Run and return the sweep."""
        self.run.click()
        assert self.section.wait(PATIENCE)
        return self.form.sweep


@pytest.fixture
def cases(gated):
    form = gated.ws.form("triage")
    form.release_tags = ["LATEST"]
    yield Cases(form)
    gated.gate.release(1000)
    form.close()


@pytest.fixture
def shouting(tmp_path):
    """Return the controls for cases of a deployment that declares its outputs."""

    class Soft(TypedDict):
        length: int

    class Loud(Soft):
        loud: str

    def whisper(text: str) -> Soft:
        return {"length": len(text)}

    def shout(text: str) -> Loud:
        return {"loud": text.upper(), "length": len(text)}

    with vnb.LocalServer() as server:
        server.deploy(whisper, name="shout", release_tags=["v0"])
        server.deploy(shout, name="shout", release_tags=["v1"])
        with vnb.connect(server, history=tmp_path / "runs.db") as ws:
            form = ws.form("shout")
            form.release_tags = ["LATEST"]
            yield Cases(form)
            form.close()


def test_form_without_sweeps_does_not_offer_them(make):
    assert parts(make()[0], "vnb-mode") == []


def test_run_starts_one_sweep_and_shows_its_view(cases, gated):
    cases.choose(GOOD)
    assert cases.label == "Run 2 calls"
    sweep = cases.swept()
    assert (cases.run.disabled, cases.run.description) == (True, "Running…")
    [box] = parts(cases.form, "vnb-case-view")
    [view] = box.children
    assert isinstance(view, SweepView)
    cases.run.click()  # pressed again, it is no second sweep
    gated.gate.release(2)
    cases.becomes("Run 2 calls again")
    assert len(gated.ws.sweeps()) == 1
    assert gated.ws.history.count(sweep_id=sweep.id) == 2
    assert "history: 2 runs" in shown(cases.form)


def test_cases_run_on_the_release_tags_of_the_form(cases):
    cases.choose(GOOD)
    assert len(parts(cases.form, "vnb-tags")) == 1
    tick(cases.form, "v1")
    assert "2 release tags" in cases.line
    cases.form.release_tags = ["v1"]
    assert "1 release tag =" in cases.line
    cases.form.release_tags = []
    assert "No release tag is chosen" in cases.plan
    assert cases.run.disabled


@pytest.mark.parametrize(
    ("chosen", "selected"),
    [(None, ["v1", "v2"]), (["v2"], ["v2"]), ([], [])],
    ids=["default", "LATEST", "none"],
)
def test_file_selects_the_baseline_unless_release_tags_were_chosen(gated, chosen, selected):
    form = gated.ws.form("triage")
    assert form.release_tags == ["v2"]
    if chosen is not None:
        form.release_tags = chosen
    Cases(form).choose(GOOD)
    assert form._reader.wait(PATIENCE)
    assert form.release_tags == selected
    form.close()


@pytest.mark.parametrize(
    ("tags", "baseline"),
    [
        ([("production",), ("v2",), ("v3", "LATEST")], "production"),
        ([("v1",), ("v2",), ("v3", "production", "LATEST")], "v2"),
        ([("v1", "LATEST")], None),
    ],
)
def test_baseline_is_production_or_else_the_release_before_latest(tags, baseline):
    choices = tuple(TagChoice(names[0], names) for names in tags)
    found = replace(SPEC, tags=choices, latest_release_id=None).baseline
    assert (found and found.tag) == baseline


def folded(form, *names):
    """Return whether the parts with these classes are hidden."""
    hidden = {each for part in parts(form, "vnb-folded") for each in tree(part)}
    return [parts(form, name)[0] in hidden for name in names]


def test_form_shows_the_parts_of_one_mode(cases):
    for_one, for_file = (
        ("vnb-run", "vnb-results", "vnb-notices"),
        ("vnb-case-run", "vnb-case-number"),
    )
    assert folded(cases.form, *for_one, *for_file) == [True] * 3 + [False] * 2
    parts(cases.form, "vnb-mode")[0].value = "One input"
    assert folded(cases.form, *for_one, *for_file) == [False] * 3 + [True] * 2


def test_run_is_the_next_step_until_the_sweep_is_finished(cases, gated):
    cases.choose(GOOD)
    assert cases.label == "Run 2 calls"
    assert "vnb-case-go" in classes(cases.run)
    cases.swept()
    gated.gate.release(2)
    cases.becomes("Run 2 calls again")
    assert "vnb-case-go" not in classes(cases.run)


def test_view_of_a_replaced_sweep_is_closed(cases, gated):
    gated.gate.release(4)
    cases.choose(GOOD)
    cases.becomes("Run 2 calls")
    first = cases.swept().view()
    cases.becomes("Run 2 calls again")
    second = cases.swept().view()
    assert (first.is_closed, second.is_closed) == (True, False)


@pytest.fixture
def billing(gated, monkeypatch):
    """Return the controls for cases on v1 and v2, which answer at once, and a page."""
    monkeypatch.setattr(comm, "create_comm", Wire)
    gated.gate.release(1000)
    form = gated.ws.form("triage")
    form.release_tags = ["v1", "v2"]
    yield Cases(form)
    form.close()


def csv_of(tickets):
    rows = "".join(f"{ticket},<b>billing</b>\n" for ticket in tickets)
    return f"ticket,expected.category\n{rows}".encode()


def finished_view(cases, *, first=""):
    """Run the first cases and return the view of the finished sweep."""
    cases.first.value = first
    assert cases.label.startswith("Run ")
    view = cases.swept().view()
    assert view.wait(PATIENCE)
    cases.becomes(cases.label)
    return view


def add(view):
    """Click the button of the verdict on v2."""
    Page(view.panel).send(kind="compare", show="add", release="v2", metric="")


def test_undecided_sweep_offers_to_add_cases(billing):
    billing.choose(csv_of("abcdef"))
    view = finished_view(billing)
    assert texts(view.panel.parts["verdicts"], "button") == ["Add cases…"]
    add(view)
    (uploader,) = parts(billing.form, "vnb-uploader")
    assert {"do": "focus"} in [data.get("content") for data in uploader.comm.sent]
    assert view.comparison_view is None
    billing.choose(csv_of("abcdefg"))
    assert billing.label == "Run 2 calls"
    assert "14 runs: 12 found, 2 to be sent" in billing.line
    assert billing.line.endswith("; reuses stored runs")
    billing.form.close()
    assert view.add_cases is None  # the view shows how


def test_first_cases_of_a_file_are_run(billing, gated):
    billing.choose(csv_of("abcdefghi"))
    view = finished_view(billing, first="6")
    assert "the first 6 of the 9 cases of cases.csv" in billing.plan
    assert gated.ws.history.count() == 12
    assert texts(view.panel.parts["verdicts"], "button") == ["Run 3 more"]
    assert "6 calls" in view.panel.parts["verdicts"]


@pytest.mark.parametrize("clicks", [1, 2])
def test_more_cases_of_the_file_run_in_one_click(billing, gated, clicks):
    billing.choose(csv_of("abcdefghi"))
    view = finished_view(billing, first="6")
    for _ in range(clicks):
        add(view)
    billing.becomes("Run 18 calls again")
    assert billing.first.value == ""
    assert progress_of(billing.form.sweep).reused == 12
    assert (gated.ws.history.count(), len(gated.ws.sweeps())) == (18, 2)
    more = billing.form.sweep.view()
    assert more.wait(PATIENCE)
    assert texts(more.panel.parts["verdicts"], "button") == ["Add cases…"]


def test_more_calls_than_the_button_named_are_not_sent(billing, gated, tmp_path):
    path = tmp_path / "cases.csv"
    path.write_bytes(csv_of("abcdefg"))
    billing.choose(str(path))
    view = finished_view(billing, first="6")
    path.write_bytes(csv_of("hijklmn"))
    add(view)
    assert billing.label == "Run 14 calls"
    assert gated.ws.history.count() == 12


@pytest.mark.parametrize(
    ("change", "label"),
    [
        (lambda cases: cases.choose(csv_of("xy")), "Run 4 calls"),
        (lambda cases: setattr(cases.form, "release_tags", ["v1"]), "Show stored runs"),
        (lambda cases: setattr(cases.repeats, "value", "2"), "Run 12 calls"),
    ],
    ids=["file", "tags", "repeats"],
)
def test_button_for_more_cases_does_not_run_another_selection(billing, gated, change, label):
    billing.choose(csv_of("abcdefghi"))
    view = finished_view(billing, first="6")
    change(billing)
    add(view)
    assert billing.label == label
    assert gated.ws.history.count() == 12


def test_expected_values_that_are_added_later_send_no_calls(billing, gated):
    billing.choose(b"ticket\nx\ny\n")
    finished_view(billing)
    billing.choose(csv_of("xy"))
    assert billing.label == "Update expected values"
    assert "4 runs: 4 found, 0 to be sent" in billing.line
    view = billing.swept().view()
    assert view.wait(PATIENCE)
    assert "2 cases: better · same · worse" in view.panel.view_model["results"]["head"]
    assert gated.ws.history.count() == 4
    billing.becomes("Run 4 calls again")


def test_more_cases_do_not_run_a_finished_sweep_again(billing, gated, tmp_path):
    path = tmp_path / "cases.csv"
    path.write_bytes(csv_of("xy"))
    billing.choose(str(path))
    finished_view(billing)
    path.write_bytes(csv_of("abcdefg"))
    view = finished_view(billing, first="6")
    path.write_bytes(csv_of("xy"))
    add(view)
    assert billing.label == "Run 4 calls again"
    assert gated.ws.history.count() == 16


def test_invalid_number_of_cases_is_refused(cases):
    cases.choose(GOOD)
    for typed in ("0", "-1", "1.5", "all", "1" * 5000):
        cases.first.value = typed
        assert "it must be a whole number from 1, or empty for all" in cases.plan
        assert cases.run.disabled
    cases.first.value = "3"
    assert cases.label == "Run 2 calls"


def test_invalid_repeats_are_refused(cases):
    cases.choose(GOOD)
    for typed in ("", "0", "-1", "1.5", "many", "٣", "1" * 5000):
        cases.repeats.value = typed
        assert "it must be a whole number from 1" in cases.plan
        assert cases.repeats.value == typed
        assert cases.run.disabled


def test_missing_file_can_be_checked_again(cases, tmp_path):
    path = tmp_path / "mine.jsonl"
    cases.choose(str(path))
    assert "mine.jsonl cannot be read: No such file" in cases.plan
    assert cases.label == "Check again"
    assert not cases.run.disabled
    path.write_text('{"ticket": "a"}\n', encoding="utf-8")
    cases.run.click()
    assert cases.label == "Run 1 call"


def test_sweep_that_cannot_start_can_be_tried_again(cases, gated):
    cases.choose(GOOD)
    assert cases.label == "Run 2 calls"
    gated.ws.history.close()
    cases.run.click()
    assert "was closed" in cases.plan
    assert (cases.label, cases.form.sweep) == ("Check again", None)


def test_stopped_sweep_is_resumed_with_the_same_file(cases, gated):
    cases.choose(GOOD)
    cases.repeats.value = " 20 "
    assert "2 cases × 1 release tag × 20 repeats = 40 calls" in cases.line  # noqa: RUF001
    assert cases.label == "Run 40 calls"
    assert gated.ws.history.count() == 0
    sweep = cases.swept()
    sweep.stop()
    gated.gate.release(16)
    assert sweep.wait(PATIENCE).state == "stopped"
    left = 40 - progress_of(sweep).ended
    cases.becomes(f"Resume: {left} calls")
    assert "resumes the unfinished sweep" in cases.plan
    gated.gate.release(100)
    assert cases.swept().wait(PATIENCE).state == "done"
    assert cases.form.sweep.id == sweep.id
    assert gated.ws.history.count() == 40


def test_newest_choice_is_checked_in_the_background(make):
    go_on, begun, asked = threading.Event(), threading.Event(), []

    def plan(file, *, repeats, dry_run, **_):
        assert dry_run  # nothing is run
        asked.append(repeats)
        begun.set()
        assert go_on.wait(PATIENCE)
        return SweepPlan("d", cases=1, repeats=repeats, tags=(TagPlan("v2", None, calls=repeats),))

    form, _ = make(cases=plan)
    cases = Cases(form)
    cases.choose(GOOD)
    assert begun.wait(PATIENCE)
    for typed in ("2", "3", "4"):
        cases.repeats.value = typed
    assert parts(form, "vnb-case-state")[0].value == "Checking…"
    assert cases.run.disabled
    go_on.set()
    assert cases.label == "Run 4 calls"
    assert asked == [1, 4]


def test_content_of_a_file_is_not_sent_to_the_page(cases, gated):
    secret = b"ticket\nnobody-else-may-read-this\n"
    cases.choose(secret)
    assert cases.label == "Run 1 call"
    state = json.dumps([w.get_state() for w in _instances.values()], default=str)
    assert "cases.csv" in state
    assert "nobody-else-may-read-this" not in state
    assert gated.server.api_key not in state
    assert "nobody-else" not in repr(CaseFile("cases.csv", secret))


def test_closed_form_leaves_its_sweep_running(cases, gated):
    cases.choose(GOOD)
    assert cases.label == "Run 2 calls"
    sweep = cases.swept()
    view = sweep.view()
    cases.form.close()
    assert view.comm is not None
    gated.gate.release(2)
    assert sweep.wait(PATIENCE).state == "done"
    assert not [t for t in threading.enumerate() if t.name == "vellum-nb-cases"]


def test_invalid_column_is_corrected_before_anything_is_sent(shouting, tmp_path):
    path = tmp_path / "cases.csv"
    content = b"text,expected.laud,expected.xyz\na,A,1\n"
    path.write_bytes(content)
    shouting.choose(str(path))
    assert shouting.label == "Check again"
    assert shouting.line == "2 columns to correct: expected.laud, expected.xyz"
    shouting.run.click()
    assert shouting.label == "Check again"
    assert shouting.form.sweep is None
    assert shouting.uses("expected.xyz") == ["Ignore the column"]
    shouting.decide("expected.laud", "Use expected.loud")
    shouting.decide("expected.xyz", "Ignore the column")
    assert shouting.label == "Run 1 call"
    assert "is read as expected.loud; the file is not changed" in shouting.row("expected.laud")
    assert "cases.drop(columns=['expected.xyz'])" in shouting.row("expected.xyz")
    frame = shouting.swept().wait(PATIENCE).frame()
    assert frame.filter(like="expected.").to_dict("list") == {"expected.loud": ["A"]}
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("use", "column"), [("Use as expected", "expected.loud"), ("Keep as label", "label.loud")]
)
def test_ambiguous_column_is_used_as_decided(shouting, use, column):
    shouting.choose(b"text,loud\na,A\n")
    assert shouting.label == "Run 1 call"  # a question prevents no run
    shouting.decide("loud", use)
    assert f"is read as {column}" in shouting.row("loud")
    assert shouting.label == "Run 1 call"
    sweep = shouting.swept().wait(PATIENCE)
    assert sweep.frame()[column].tolist() == ["A"]
    assert sweep.notes == ()


def test_decision_can_be_changed_until_another_file_is_chosen(shouting):
    shouting.choose(b"text,expected.laud,loud\na,A,B\n")
    shouting.decide("loud", "Use as expected")
    shouting.decide("expected.laud", "Use expected.loud")
    assert "Several columns of cases.csv are called expected.loud" in shouting.plan
    [roles] = parts(shouting.form, "vnb-column-roles")
    assert "inputs: text" in text_of(roles.value)  # of the last check
    shouting.decide("expected.laud", "Ignore the column")
    assert shouting.label == "Run 1 call"
    shouting.choose(b"text,expected.laud\na,A\n")
    assert shouting.label == "Check again"
    assert "Did you mean loud?" in shouting.row("expected.laud")


def test_renamed_column_that_does_not_fit_another_release_is_decided_again(shouting):
    shouting.choose(b"text,expected.laud\na,A\n")
    shouting.decide("expected.laud", "Use expected.loud")
    shouting.form.release_tags = ["v0"]
    assert shouting.label == "Check again"
    shouting.decide("expected.loud", "Ignore the column")
    assert shouting.label == "Run 1 call"
    assert "is ignored" in shouting.row("expected.laud")


def test_value_that_does_not_fit_is_listed_next_to_invalid_columns(shouting):
    shouting.choose(b"text,expected.laud,mocks\na,A,1\n")
    assert "row variable problem 1 mocks is not a list" in shouting.plan
    assert "expected.laud" not in shouting.plan
    assert "Did you mean loud?" in shouting.row("expected.laud")


def test_many_columns_are_cut(shouting):
    columns = [f"expected.x{number}" for number in range(1900)]
    shouting.choose(f"text,{','.join(columns)}\na{',1' * 1900}\n".encode())
    assert shouting.label == "Check again"
    assert len(parts(shouting.form, "vnb-column")) == 10
    [roles] = parts(shouting.form, "vnb-column-roles")
    assert text_of(roles.value).endswith("and 1,888 more")
    assert "… and 1,890 more columns" in shown(shouting.form)


@pytest.mark.parametrize("first", range(0, len(HOSTILE), 9))
def test_hostile_columns_are_escaped(shouting, first):
    names = [*HOSTILE[first : first + 9], "\u202e" + "x" * 10_000]
    row = {"text": "a"} | {f"expected.{name}": 1 for name in names} | dict.fromkeys(names, 2)
    shouting.choose(json.dumps([row]).encode(), name="cases.json")
    for decided in (False, True):
        assert shouting.section.wait(PATIENCE)
        rows = parts(shouting.form, "vnb-column")
        assert len(rows) == len(names)
        every = [*tree(shouting.section.file), *tree(shouting.section.widget)]
        html = "".join(part.value for part in every if isinstance(part, HTML))
        assert_harmless(html)
        assert "\u202e" not in html
        for row in () if decided else rows:
            row.children[1].label = "Ignore the column"
    assert shouting.label == "Run 1 call"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_and_cells_are_escaped(text):
    tag = TagPlan(text, None, calls=1)
    assert_harmless(case_plan_html(SweepPlan(text, cases=1, repeats=1, tags=(tag,), notes=(text,))))
    problems = [InputProblem(text, text, row=1), InputProblem(text, text)]
    assert_harmless(problems_html(InputError(text, problems)))
    assert_harmless(problems_html(HistoryError(text)))


def test_form_shows_the_least_number_of_calls_of_conversations(cases):
    cases.choose(b"conversation,turn,ticket\nx,1,a\nx,2,b\ny,1,c\n")
    assert cases.label == "Run 2 to 3 calls"
    assert "2 to 3" in cases.plan
    assert "2 conversations of 3 turns × 1 release tag = 2 to 3 calls" in cases.line  # noqa: RUF001


def test_plan_shows_counts_time_and_cost():
    tags = (TagPlan("v1", None, calls=2, found=1, doubtful=1, median_s=2.5, cost_usd=0.25),)
    plan = SweepPlan("d", cases=4, repeats=1, tags=tags, at_once=2, resumes="x")
    found = "1 found, 1 to be looked up, 2 to be sent"
    assert plan.headline.endswith(f"{found}, about 2.50 s at up to 2 at once, about $0.50")
    assert texts(case_plan_html(plan), "td") == ["2", "1", "1", "2.50 s", "$0.50"]
