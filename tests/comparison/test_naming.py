"""`propose_failures` and `failure_checks`: names from notes, and judges checked by name."""

import pytest

import vellum_nb as vnb
from vellum_nb.errors import InputError
from vellum_nb.local.samples import failure_namer

NOTES = ["too long", "much too long a reply", "rude", None]
QUIET = {"progress": False}


@pytest.fixture
def ws():
    with vnb.connect("local", history=":memory:") as workspace:
        workspace.server.deploy(lambda text: text.upper(), name="echo", release_tags=["v1"])
        workspace.server.deploy(failure_namer, name="namer", release_tags=["v1"])
        yield workspace


@pytest.fixture
def cmp(ws):
    cases = [{"text": f"text {number}"} for number in range(len(NOTES))]
    sweep = ws.sweep("echo", cases, release_tags=["v1"], progress=False)
    made = sweep.compare()
    for case, note in zip(made.cases, NOTES, strict=True):
        if note:
            made.note(case.runs["v1"], note)
    return made


def deployed(ws, failures):
    def namer(answers: list[dict]) -> dict:
        return {"failures": failures}

    ws.server.deploy(namer, name="other", release_tags=["v1"])
    return "other"


def test_notes_are_grouped_under_names(cmp):
    proposals = cmp.propose_failures("namer", **QUIET)
    assert proposals.names == ("too long", "rude")
    assert proposals.frame().iloc[0].tolist() == [
        *("too long", 2, 1, "v1", "too long", 2, "v1", "much too long a reply"),
    ]
    assert repr(proposals) == "<FailureProposals from 3 answers: too long (2); rude (1)>"


def test_proposal_counts_after_it_is_confirmed(cmp):
    proposals = cmp.propose_failures("namer", **QUIET)
    assert cmp.failures().empty
    assert proposals.confirm("too long") == 2
    assert cmp.failures()[["name", "count"]].to_numpy().tolist() == [["too long", 2]]


def test_confirmed_name_can_be_changed(cmp):
    cmp.propose_failures("namer", **QUIET).confirm("rude", rename="impolite")
    assert cmp.failures()["name"].tolist() == ["impolite"]


def test_name_that_was_not_proposed_is_refused(cmp):
    with pytest.raises(InputError, match="'odd' was not proposed; available: too long, rude"):
        cmp.propose_failures("namer", **QUIET).confirm("odd")


def test_workflow_is_called_once_for_the_same_answers(ws, cmp):
    for _ in range(2):
        cmp.propose_failures("namer", **QUIET)
    assert ws.history.count(deployment="namer") == 1


def test_limit_of_no_calls_is_kept(ws, cmp):
    with pytest.raises(InputError, match="namer was not called: the limits allow no call"):
        cmp.propose_failures("namer", max_calls=0, **QUIET)
    assert ws.history.count(deployment="namer") == 0


def test_worse_answers_are_read_without_a_note(ws):
    ws.server.deploy(lambda text: text, name="both", release_tags=["v1"])
    ws.server.deploy(lambda text: f"no {text}", name="both", release_tags=["v2"])
    case = {"text": "yes", "expected.output": "yes"}
    cmp = ws.sweep("both", [case], release_tags=["v1", "v2"], progress=False).compare()
    proposals = cmp.propose_failures("namer", **QUIET)
    assert proposals.frame()[["name", "release_1"]].to_numpy().tolist() == [["wrong output", "v2"]]


def test_nothing_odd_is_an_error(ws):
    ws.run("echo", {"text": "fine"}, release_tag="v1")
    with pytest.raises(InputError, match="is worse: write notes with cmp.note"):
        ws.compare("echo").propose_failures("namer", **QUIET)


def test_at_most_twelve_names_are_proposed(ws, cmp):
    names = {f"name {number}": [1] for number in range(20)}
    assert len(cmp.propose_failures(deployed(ws, names), **QUIET).names) == 12


@pytest.mark.parametrize("failures", [{"odd": [7, "1", None, -1]}, {"x" * 81: [1]}, {"": [1]}, {}])
def test_invalid_ids_and_names_are_ignored(ws, cmp, failures):
    assert cmp.propose_failures(deployed(ws, failures), **QUIET).names == ()


@pytest.mark.parametrize("failures", [["rude"], "rude", None])
def test_other_output_of_the_workflow_is_an_error(ws, cmp, failures):
    with pytest.raises(InputError, match="must return an output 'failures'"):
        cmp.propose_failures(deployed(ws, failures), **QUIET)


def test_metric_is_no_workflow(cmp):
    with pytest.raises(InputError, match="judge must be the name of a deployment"):
        cmp.propose_failures(vnb.metrics.length(), **QUIET)


def test_judge_is_checked_by_failure_name(ws):
    def grader(text: str) -> dict:
        return {"score": 0.0, "failures": ["even"] if int(text.split()[1]) % 2 == 0 else []}

    ws.server.deploy(grader, name="grader", release_tags=["v1"])
    cases = [{"text": f"text {number}"} for number in range(31)]
    sweep = ws.sweep("echo", cases, release_tags=["v1"], progress=False)
    judge = ws.judge("grader", inputs={"text": "input.text"})
    cmp = sweep.compare(metrics=judge, progress=False)
    for case in cmp.cases[:30]:
        run, number = case.runs["v1"], case.number - 1
        cmp.note(run, "seen")
        if number % 2 == 0:
            ws.history.annotate(run.id, tags=["failure:even"])
        elif number == 1:
            ws.history.annotate(run.id, tags=["failure:odd"])
    frame = cmp.failure_checks()
    columns = ["name", "n", "people", "judge", "kappa"]
    assert frame[columns].to_numpy().tolist() == [["even", 30, 15, 15, 1.0], ["odd", 30, 1, 0, 0.0]]
    assert (frame["low"] <= frame["kappa"]).all()
