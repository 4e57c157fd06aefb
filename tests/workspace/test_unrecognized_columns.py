"""A column that is not recognized is an error or a note, never "no difference"."""

import json
from typing import TypedDict

import pandas as pd
import pytest
from command_kit import run as vellum_nb
from dom_kit import text_of
from runs_kit import html_of

import vellum_nb as vnb
from vellum_nb.comparison.cases import label_note
from vellum_nb.errors import InputError
from vellum_nb.sweep.cases import CaseFile, checked_cases, read_table

BOTH = {"release_tags": ["v1", "v2"], "progress": False}
MISSPELT = [{"text": "a", "expected.laud": "A"}]
LIKE_AN_OUTPUT = [{"text": "a", "loud": "A"}, {"text": "b", "loud": "B"}]
NOTE = (
    "the column loud is not compared with the output loud: rename it to expected.loud if it is "
    "the expected value"
)


class Soft(TypedDict):
    """Outputs of the first release."""

    loud: str


class Loud(TypedDict):
    """Outputs of the second release."""

    loud: str
    length: int


def soft(text: str) -> Soft:
    return {"loud": text}


def loud(text: str, polite: bool = False) -> Loud:  # noqa: FBT001, FBT002
    return {"loud": text.upper(), "length": len(text)}


@pytest.fixture
def server():
    with vnb.LocalServer() as server:
        server.deploy(soft, name="shout", release_tags=["v1"])
        server.deploy(loud, name="shout", release_tags=["v2"])
        yield server


@pytest.fixture
def command(server, tmp_path):
    """Return what runs a command on cases in a file."""
    key = {"VELLUM_API_KEY": server.api_key, "VELLUM_API_URL": server.url}

    def run(name, cases, *arguments):
        file = tmp_path / "cases.csv"
        pd.DataFrame(cases).to_csv(file, index=False)
        file = ["--cases", file] if name == "compare" else [file]
        tags = ["--release-tag", "v1", "--release-tag", "v2"]
        return vellum_nb(
            name, "shout", *file, *tags, "--history", tmp_path / "runs.db", *arguments, **key
        )

    return run


def form_plan(ws, cases):
    """Return what the form shows when it checks a file of cases."""
    form = ws.form("shout")
    form.release_tags = ["v1", "v2"]
    form._mode_set({"new": "File of cases"})
    section = form._cases
    section._given = cases
    section._changed()
    assert section.wait(120)
    parts = [section._columns.widget, section._plan]
    for part in parts:
        parts += getattr(part, "children", ())
    html = "".join(str(getattr(part, "value", "")) for part in parts)
    form.close()
    return html


def test_a_misspelt_expected_output_is_an_error_of_a_sweep_and_its_plan(ws):
    for options in ({}, {"dry_run": True}):
        with pytest.raises(InputError) as caught:
            ws.sweep("shout", MISSPELT, **BOTH, **options)
        (problem,) = caught.value.problems
        assert problem.variable == "expected.laud"
        assert problem.message == (
            "is not an output of shout on v1, v2; available: loud, length. Did you mean loud?"
        )
    assert ws.history.count() == 0


@pytest.mark.parametrize("prefix", ["expected", "desired"])
def test_an_expected_value_of_no_output_is_an_error(ws, prefix):
    with pytest.raises(InputError, match=rf"{prefix}\.xyz: is not an output .*: loud, length\.$"):
        ws.sweep("shout", [{"text": "a", f"{prefix}.xyz": 1}], **BOTH)


def test_a_misspelt_expected_output_is_an_error_of_a_comparison(ws):
    ws.sweep("shout", [{"text": "a"}], **BOTH)
    with pytest.raises(InputError, match="Did you mean loud?"):
        ws.compare("shout", cases=MISSPELT)
    frame = ws.history.frame().assign(**{"expected.laud": "A"})
    with pytest.raises(InputError) as caught:
        vnb.compare(frame)
    (problem,) = caught.value.problems
    assert problem.variable == "expected.laud"
    assert problem.message.endswith(": loud, length. Did you mean loud?")


@pytest.mark.parametrize("name", ["sweep", "compare"])
def test_a_misspelt_expected_output_is_an_error_of_the_command_line(ws, command, name):
    command("sweep", [{"text": "a"}])
    done = command(name, MISSPELT)
    assert (done.returncode, done.stdout) == (1, "")
    assert "expected.laud: is not an output of shout" in done.stderr
    assert "Did you mean loud?" in done.stderr


def test_a_misspelt_expected_output_is_an_error_of_the_form(ws, tmp_path):
    file = tmp_path / "cases.csv"
    pd.DataFrame(MISSPELT).to_csv(file, index=False)
    html = form_plan(ws, str(file))
    assert 'role="alert"' in html
    assert "Did you mean loud?" in html


def test_an_expected_output_that_one_release_lacks_is_a_note(ws):
    plan = ws.sweep("shout", [{"text": "a", "expected.length": 1}], **BOTH, dry_run=True)
    assert plan.notes == ("expected.length is never met on v1: no output has that name",)


def test_a_correction_of_an_older_release_does_not_prevent_a_replay(ws):
    ws.run("shout", {"text": "a"}, release_tag="v2")
    ws.history.annotate(ws.history.runs()[0].id, desired={"length": 2})
    replay = ws.compare("shout").replay(release_tag="v1", progress=False)
    assert "desired.length" not in replay.frame()
    notes = replay.compare().figures.notes
    assert [note.partition(" is ")[0] for note in notes] == ["expected.length"]


def test_a_column_named_like_an_output_is_a_note_with_a_remedy_in_every_place(ws, command):
    plan = ws.sweep("shout", LIKE_AN_OUTPUT, **BOTH, dry_run=True)
    sweep = ws.sweep("shout", LIKE_AN_OUTPUT, **BOTH)
    cmp = sweep.compare()
    assert plan.notes == sweep.notes == cmp.figures.notes == (NOTE,)
    rendered = [
        *(str(plan), html_of(plan), html_of(sweep), html_of(sweep.view())),
        *(sweep.view().panel.parts["notes"], html_of(cmp), html_of(cmp.view()), str(cmp)),
        *(cmp.to_markdown(), cmp.to_html()),
    ]
    assert [NOTE in text for text in rendered] == [True] * len(rendered)
    done = command("sweep", LIKE_AN_OUTPUT)
    assert f"note: {NOTE}" in done.stdout
    done = command("sweep", LIKE_AN_OUTPUT, "--json")
    assert NOTE in json.loads(done.stdout)["notes"]
    assert NOTE in command("compare", LIKE_AN_OUTPUT).stdout


def test_without_a_metric_the_verdict_names_the_column_that_may_be_the_expected_value(ws):
    cmp = ws.sweep("shout", LIKE_AN_OUTPUT, **BOTH).compare()
    sentence = f"or give a metric or expected outputs. Note: {NOTE}"
    assert sentence in cmp.result("v2").remark
    for html in (html_of(cmp), html_of(cmp.view()), cmp.to_html()):
        assert sentence in text_of(html)


def test_deciding_without_a_metric_names_the_column_that_may_be_the_expected_value(ws):
    cmp = ws.sweep("shout", LIKE_AN_OUTPUT, **BOTH).compare()
    with pytest.raises(InputError, match=NOTE):
        cmp.decide()


def test_a_label_named_like_an_output_with_expected_values_is_no_note(ws):
    cases = [{"text": "a", "loud": "A", "expected.loud": "A"}]
    sweep = ws.sweep("shout", cases, **BOTH)
    assert (sweep.notes, sweep.compare().figures.notes) == ((), ())


def test_the_form_shows_the_note_on_a_column_named_like_an_output(ws, tmp_path):
    file = tmp_path / "cases.csv"
    pd.DataFrame(LIKE_AN_OUTPUT).to_csv(file, index=False)
    shown = text_of(form_plan(ws, str(file)))
    assert "Column loud is used as a label. It has the name of an output" in shown
    assert "not compared" not in shown  # said once, next to the buttons


def test_a_column_of_a_frame_that_is_named_like_an_output_is_a_note(ws):
    sweep = ws.sweep("shout", LIKE_AN_OUTPUT, **BOTH)
    assert vnb.compare(sweep.frame()).figures.notes == (NOTE,)
    frame = ws.history.frame().assign(loud="A")
    assert vnb.compare(frame).figures.notes == (NOTE,)
    assert vnb.compare(frame, by="loud").figures.notes == ()


def test_renamed_as_the_note_says_the_column_is_compared(ws):
    ws.sweep("shout", LIKE_AN_OUTPUT, **BOTH)
    renamed = pd.DataFrame(LIKE_AN_OUTPUT).rename(columns={"loud": "expected.loud"})
    sweep = ws.sweep("shout", renamed, **BOTH)
    cmp = sweep.compare()
    assert NOTE not in (*sweep.notes, *cmp.figures.notes)
    assert NOTE not in ws.open_sweep(sweep.id).notes
    assert cmp.result("v2").better == 2


def test_a_misspelt_prefix_is_a_note(ws):
    plan = ws.sweep("shout", [{"text": "a", "Expcted.loud": "A"}], **BOTH, dry_run=True)
    assert plan.notes == (
        "the column Expcted.loud is used as a label; did you mean expected.loud?",
    )


def test_a_plan_shows_its_columns_by_role(ws):
    cases = [{"text": "a", "expected.length": 1, "loud": "A", "who": "ann"}]
    plan = ws.sweep("shout", cases, **BOTH, dry_run=True)
    assert [(column.name, column.use) for column in plan.columns] == [
        *(("text", "input"), ("expected.length", "expected")),
        *(("loud", "label"), ("who", "label")),
    ]
    assert [column.meant for column in plan.columns if column.notes] == [("expected.loud",)]
    lines = str(plan).splitlines()
    assert lines[1:4] == ["  inputs: text", "  expected: expected.length", "  labels: loud, who"]
    assert "inputs: text expected: expected.length labels: loud (ambiguous) who" in text_of(
        html_of(plan)
    )


def test_a_sweep_shows_its_columns_by_role_in_later_kernels(server, tmp_path):
    path = tmp_path / "shared.db"
    cases = [{"text": "a", "expected.loud": "A", "who": "ann"}, {"text": "b", "polite": True}]
    with vnb.connect(server, history=path) as ws:
        sweep_id = ws.sweep("shout", cases, **BOTH).id
    with vnb.connect(server, history=path) as ws:
        view = ws.open_sweep(sweep_id).view()
        for html in (view.panel.parts["notes"], html_of(view)):
            assert "inputs: text polite expected: loud labels: who" in text_of(html)


def test_an_invalid_column_is_on_the_error_with_the_name_that_is_meant(ws):
    with pytest.raises(InputError) as caught:
        ws.sweep("shout", [{"text": "a", "expected.laud": 1, "input.txt": "b"}], **BOTH)
    invalid = {column.name: column.meant for column in caught.value.columns if column.problem}
    assert invalid == {"expected.laud": ("expected.loud",), "input.txt": ()}  # text is there


@pytest.mark.parametrize("cases", [{"text": "a", "label.loud": "A"}, {"tex": 1, "label.txt": "b"}])
def test_a_column_that_is_called_a_label_raises_no_question(ws, cases):
    releases = {"v1": ws.client.retrieve_workflow_deployment_release("shout", "v1")}
    cases = {"text": "a"} | cases
    checked = checked_cases(read_table([cases]), releases, "shout")
    assert [column.notes for column in checked.columns if column.name.startswith("label.")] == [()]


def test_a_label_next_to_the_expected_value_of_its_output_raises_no_question(ws):
    cases = [{"text": "a", "loud": "A", "expected.loud": "A"}]
    assert ws.sweep("shout", cases, **BOTH, dry_run=True).notes == ()


def test_columns_are_renamed_while_a_file_is_read(tmp_path):
    file = tmp_path / "cases.csv"
    file.write_text("text,expected.laud,who\na,1,ann\n", encoding="utf-8")
    renamed = {"expected.laud": "expected.loud", "who": None, "missing": "x"}
    in_memory = CaseFile("a.csv", file.read_bytes(), renamed)
    for cases in (CaseFile(str(file), None, renamed), in_memory):
        table = read_table(cases)
        assert table.columns == ("text", "expected.loud")
        assert table.rows == [{"text": "a", "expected.loud": "1"}]
    assert file.read_text(encoding="utf-8") == "text,expected.laud,who\na,1,ann\n"
    with pytest.raises(InputError, match=r"Several columns of cases.csv are called text"):
        read_table(CaseFile(str(file), None, {"who": "text"}))


def test_every_note_of_a_plan_is_on_its_sweep_and_comparison(ws):
    cases = [
        {"text": "a", "polite": True, "loud": "A", "expected.length": 1},
        {"text": "a", "polite": True, "politee": 1},
    ]
    plan = ws.sweep("shout", cases, **BOTH, limits={"max_calls": 100}, dry_run=True)
    parts = ("not sent to v1", "never met on v1", NOTE, "inputs of an earlier one", "max_calls=100")
    for part in parts:
        assert [note for note in plan.notes if part in note], part
    sweep = ws.sweep("shout", cases, **BOTH, limits={"max_calls": 100})
    assert sweep.notes == plan.notes
    assert sweep.compare().figures.notes[: len(plan.notes)] == plan.notes


def test_notes_on_cases_survive_the_kernel(server, tmp_path):
    path = tmp_path / "shared.db"
    with vnb.connect(server, history=path) as ws:
        sweep_id = ws.sweep("shout", LIKE_AN_OUTPUT, **BOTH).id
    with vnb.connect(server, history=path) as ws:
        sweep = ws.open_sweep(sweep_id)
        assert sweep.notes == (NOTE,)
        assert sweep.compare().figures.notes == (NOTE,)
        assert ws.compare("shout").figures.notes == (NOTE,)
        again = ws.sweep("shout", LIKE_AN_OUTPUT, **BOTH)
        assert again.id == sweep_id
        assert NOTE in again.notes


def test_an_expected_value_of_no_output_is_a_note_where_outputs_are_not_declared(ws, server):
    server.deploy(lambda text: {"loud": text}, name="undeclared", release_tags=["v1"])
    cases = [{"text": "a", "expected.laud": "a"}]
    cmp = ws.sweep("undeclared", cases, release_tags=["v1"], progress=False).compare()
    (note,) = cmp.figures.notes
    assert note.startswith("expected.laud is not an output of the compared runs")
    assert note.endswith("available: loud. Did you mean loud?")


@pytest.mark.parametrize(
    "column",
    [
        *("Expected.loud", "expected_loud", "expected loud", "exp.loud", "expectd.loud"),
        *("desired-loud", "louud"),
    ],
)
def test_a_misspelt_column_of_expected_values_is_noted_in_frames_too(column):
    rows = [{"release_tag": tag, "input.text": "a", "output.loud": "A"} for tag in ("v1", "v2")]
    frame = pd.DataFrame(rows).assign(**{column: "B"})
    note = f"the column {column} is used as a label; did you mean expected.loud?"
    assert vnb.compare(frame).figures.notes == (note,)


def test_a_column_that_only_says_expected_lists_the_outputs():
    note = "the column expected is used as a label; did you mean expected.<output>? "
    assert label_note("expected", ["loud", "n"]) == f"{note}The outputs are: loud, n"
    assert label_note("experiment", ["loud"]) is None


@pytest.mark.parametrize("names", [["loud", "label.loud"], ["label.loud", "loud"]])
def test_two_columns_with_the_same_label_are_refused(ws, names):
    cases = pd.DataFrame([{"text": "a"} | dict.fromkeys(names, "A")])
    message = "label.loud and loud of the DataFrame are both the label loud; leave one out"
    with pytest.raises(InputError, match=message):
        ws.sweep("shout", cases, **BOTH)
    assert ws.history.count() == 0
