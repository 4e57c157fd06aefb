"""What is recorded, when, and what may change afterwards."""

import getpass
import secrets
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from runs_kit import html_of, page

from vellum_nb import History, HistoryError
from vellum_nb.history import connected, set_execution_id, set_nodes, trace_frame
from vellum_nb.models import NodeRun

WHOLE = {
    "execution_id": "exec-1",
    "external_id": "ext-1",
    "release_id": "rel-1",
    "environment": "production",
    "inputs": {"z": 1, "a": {"n": [2**80, None, "\ud83d"]}, "é": "\x00\u2028"},
    "outputs": {"reply": 'say "hi"\n', "score": 0.1, "none": None},
    "output_types": {"reply": "STRING", "score": "NUMBER", "none": "JSON"},
    "not_sent": ("vip",),
    "finished_at": "2026-07-01T14:00:00.123456+02:00",
    "latency_s": 0.25,
    "sweep_id": "sweep-1",
    "repeat": 2,
    "metadata": {"who": "me"},
    "previous_execution_id": "exec-0",
    "cost_usd": 0.002,
    "tokens_in": 11,
    "tokens_out": 7,
    "model": "m",
    "tag_moved": True,
    "tags": ("a", "b"),
    "note": "n",
    "quality": 0.5,
}


def test_a_run_comes_back_as_it_was_recorded(history, make_run):
    run = make_run(**WHOLE)
    history.begin(run)
    history.finish(run.model_copy(update={"state": "FULFILLED"}))
    assert history.get(run.id) == run.model_copy(update={"state": "FULFILLED"})
    assert list(history.get(run.id).inputs) == ["z", "a", "é"]


def test_turn_outside_of_a_sweep_does_not_change_the_case_of_the_sweep(history, make_run):
    history.begin(make_run(conversation_id="c", turn=1, sweep_id="s", case_id="planned"))
    history.begin(make_run(conversation_id="c", turn=2, case_id="longer"))
    assert [run.case_id for run in history.conversation("c")] == ["planned", "longer"]


@pytest.fixture
def finished(history, make_run):
    """Return a run that was annotated while it ran, and whose end had other inputs."""
    run = make_run(inputs={"ticket": "as sent"})
    history.begin(run)
    history.annotate(run.id, note="looks slow", tags=["slow"], quality=0.1)
    changed = {"inputs": {"ticket": "other"}, "state": "FULFILLED", "outputs": {"a": 1}}
    history.finish(run.model_copy(update=changed))
    return history.get(run.id)


def test_finishing_keeps_the_inputs_that_were_sent(finished):
    assert (finished.inputs, finished.outputs) == ({"ticket": "as sent"}, {"a": 1})


def test_finishing_keeps_annotations(finished):
    assert (finished.note, finished.tags, finished.quality) == ("looks slow", ("slow",), 0.1)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("ended", "already ended as FULFILLED"),
        ("begun", "still STARTED"),
        ("stranger", "no run 'stranger'"),
    ],
)
def test_only_a_run_under_way_can_be_finished(history, record, make_run, state, message):
    ended = record(outputs={"reply": "first"})
    history.begin(begun := make_run())
    runs = {
        "ended": ended.model_copy(update={"outputs": {}}),
        "begun": begun,
        "stranger": make_run(id="stranger", state="FULFILLED"),
    }
    with pytest.raises(HistoryError, match=message):
        history.finish(runs[state])
    assert history.runs() == [begun, ended]


@pytest.mark.parametrize("name", ["id", "external_id"])
def test_a_second_run_with_the_same_id_is_refused(history, make_run, name):
    history.begin(make_run(id="same", external_id="same"))
    with pytest.raises(HistoryError, match=f"already has a run with the {name} 'same'"):
        history.begin(make_run(**{name: "same"}))
    assert history.count() == 1


@pytest.mark.usefixtures("path")  # one database is enough
@pytest.mark.parametrize("value", [{1, 2}, 10**5000], ids=["set", "digits"])
def test_inputs_that_cannot_be_stored_are_refused(history, make_run, value):
    with pytest.raises(HistoryError, match="The inputs of run odd cannot be stored"):
        history.begin(make_run(id="odd", inputs={"x": value}, case_id="c"))
    assert history.count() == 0


@pytest.mark.usefixtures("path")  # one database is enough
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"note": 5}, "note must be a text, not 5"),
        ({"tags": 5}, "tags must be a list of texts, not 5"),
        ({"tags": [5]}, "tags must be a text, not 5"),
        ({"quality": "good"}, "quality='good' is not a number from 0"),
        ({"quality": 5}, "quality=5 is not a number from 0"),
        ({"quality": float("nan")}, "quality=nan is not a number from 0"),
        ({"desired": 5}, "desired must be a dict, not 5"),
    ],
)
def test_an_annotation_of_another_type_changes_nothing(history, record, changes, message):
    run = record()
    with pytest.raises(HistoryError, match=message):
        history.annotate(run.id, **{"note": "good", **changes})
    assert history.get(run.id) == run


def test_an_annotation_changes_only_what_is_given(history, record):
    run = record()
    history.annotate(run.id, note="a", tags="one", quality=1)
    history.annotate(run.id, note=None)
    annotated = history.get(run.id)
    assert (annotated.note, annotated.tags, annotated.quality) == (None, ("one",), 1.0)


def test_an_empty_list_removes_the_tags(history, record):
    run = record(tags=("one",))
    history.annotate(run.id, tags=[])
    assert history.get(run.id).tags == ()


def test_subscribers_are_called_for_each_step_until_they_stop(history, make_run):
    seen = []
    stop = history.subscribe(lambda run: seen.append((run.state, run.note)))
    run = make_run()
    history.begin(run)
    history.finish(run.model_copy(update={"state": "FULFILLED"}))
    history.annotate(run.id, note="ok")
    stop()
    stop()
    history.annotate(run.id, note="unheard")
    assert seen == [("STARTED", None), ("FULFILLED", None), ("FULFILLED", "ok")]


def test_a_subscriber_that_breaks_does_not_affect_the_next_one(history, make_run):
    seen = []

    def broken(run):
        raise LookupError(run.id)

    history.subscribe(broken)
    history.subscribe(seen.append)
    run = make_run()
    with pytest.warns(RuntimeWarning, match=f"broken.* failed for run {run.id}: LookupError"):
        history.begin(run)
    assert seen == [history.get(run.id)] == [run]


def test_subscriber_without_callback_is_called_for_each_change(history, make_run):
    counts = []
    history.subscribe(None, on_bulk_change=lambda: counts.append(history.count()))
    run = make_run()
    history.begin(run)
    history.annotate(run.id, note="ok")
    history.delete([run.id])
    assert counts == [1, 1, 0]


def test_callbacks_belong_to_one_of_two_views_of_the_same_history(path, make_run):
    with History(path) as history:
        one = connected(history, view=lambda it, **options: (it.path, options), leaks=bool)
        other = connected(one, view=lambda _: "other", leaks=bool)
        other.begin(make_run())
        assert (other.view(), history.count()) == ("other", 1)
        assert one.view(limit=5) == (path, {"limit": 5})
        with pytest.raises(HistoryError, match="no interactive table"):
            history.view()
    assert list(path.parent.iterdir()) == [path]  # one in memory leaves no file


def test_repr_names_the_file_with_the_number_of_runs(history, record, path):
    assert repr(history) == f"<History {path}: 0 runs>"
    record()
    assert repr(history) == f"<History {path}: 1 run>"


def test_names_of_deployments_are_text_in_html(history, record):
    record(deployment="<script>alert(1)</script>")
    html = html_of(history)
    assert "&lt;script&gt;" in html
    assert "<script>" not in html


@pytest.mark.slow
def test_recording_needs_no_pandas(tmp_path):
    code = (
        "import sys; from vellum_nb import History; from vellum_nb.models import Run\n"
        "with History(sys.argv[1]) as h: h.begin(Run(id='a', deployment='d', release_tag='v',"
        " timestamp='2026-07-01T00:00:00Z', inputs={}, case_id='c')); h.runs()\n"
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.db")], check=True)


def test_run_whose_values_no_database_holds_is_recorded_without_them(history, make_run):
    run = make_run(id="a\ud83d", external_id="b\ud83d", state="FULFILLED", tokens_in=2**70)
    history.begin(run.model_copy(update={"state": "STARTED"}))
    history.finish(run)
    stored = [(r.id, r.state, r.tokens_in) for r in history.runs()]
    assert stored == [("a\ufffd", "FULFILLED", None)]
    with pytest.raises(HistoryError, match="already"):
        history.begin(run)


def test_a_run_with_odd_signs_does_not_spoil_the_order_of_the_others(history, record):
    record(id="odd", inputs={"q": "\x00 \ud83d \\u0000", "n": 2})
    record(id="plain", inputs={"n": 1, "\x00n": 3, "\ud83d": 4})
    for name in ("n", "\x00n", "\ud83d"):
        found = [run.id for run in page(history, order_by=f"input.{name}", descending=False)]
        assert found == ["plain", "odd"]


@pytest.fixture
def team(place, make_run, monkeypatch):
    """Return a history with runs of two people, and one without an author."""
    monkeypatch.setenv("VELLUM_NB_AUTHOR", "")
    with History(place) as history:
        history.begin(make_run(id="anonymous"))
    for name in ("ada", "bob"):
        monkeypatch.setenv("VELLUM_NB_AUTHOR", name)
        with History(place) as history:
            history.begin(make_run(id=f"{name}'s"))
    with History(place) as history:
        yield history


def test_runs_have_their_author(team):
    assert [run.author for run in team.runs()] == ["bob", "ada", None]


def test_runs_are_filtered_by_author(team):
    assert [run.id for run in team.runs(author="ada")] == ["ada's"]
    assert team.count(author=["ada", "bob"]) == 2


def test_runs_are_sorted_by_author(team):
    assert [run.author for run in page(team, order_by="author")] == ["bob", "ada", None]


def test_frame_has_a_column_of_authors_if_there_are_any(team):
    assert "author" in team.frame()
    assert "author" not in team.frame(ids=["anonymous"])


def test_only_a_shared_history_has_the_user_as_author(
    tmp_path, postgres_url, make_run, monkeypatch
):
    monkeypatch.delenv("VELLUM_NB_AUTHOR", raising=False)
    for place, author in ((tmp_path / "runs.db", None), (postgres_url, getpass.getuser())):
        with History(place) as history:
            history.begin(make_run(id="mine"))
            history.begin(make_run(id="theirs", author="eve"))
            assert (history.get("mine").author, history.get("theirs").author) == (author, "eve")


NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
INNER = {"span_id": "b", "parent_span_id": "a", "state": "REJECTED", "error": "no \ud83d"}
TIMES = {"start": NOON + timedelta(seconds=1), "end": NOON + timedelta(seconds=1.5)}
NODES = (
    NodeRun(name="inner", **INNER, **TIMES),
    NodeRun(name="outer", span_id="a", parent_span_id="e", start=NOON, model="m", tokens_in=3),
)


def test_trace_is_a_frame_in_order_of_time(record):
    frame = trace_frame(record(nodes=NODES).nodes)
    assert frame["name"].tolist() == ["outer", "inner"]
    assert frame["depth"].tolist() == [0, 1]
    assert frame["duration_s"].tolist()[1] == 0.5
    assert frame["start"][0] == pd.Timestamp(NOON)
    assert frame["error"].tolist()[1] == "no \ufffd"


def test_empty_trace_has_the_dtypes_of_a_full_one(record):
    frame = trace_frame(record(nodes=NODES).nodes)
    assert trace_frame([]).dtypes.to_dict() == frame.dtypes.to_dict()
    assert str(frame["tokens_in"].dtype) == "Int64"


def test_nodes_whose_parents_form_a_cycle_have_a_depth(record):
    circle = [NodeRun(name=n, span_id=n, parent_span_id=p) for n, p in ("ab", "ba", "cc")]
    assert trace_frame(record(nodes=circle).nodes)["depth"].tolist() == [2, 2, 1]


def test_stored_nodes_replace_earlier_ones(history, record):
    run = record(nodes=NODES)
    node = NODES[1].model_copy(update={"inputs": {"q": ["x"]}, "outputs": {"a": {"b": 1.5}}})
    set_nodes(history, run.id, [node])
    assert history.get(run.id).nodes == (node,)
    with pytest.raises(HistoryError, match="no run 'other'"):
        set_nodes(history, "other", NODES)


def test_corrected_outputs_are_columns_after_the_outputs(history, record):
    run = record(outputs={"category": "account", "score": 1}, latency_s=1)
    record(outputs={"category": "billing"})
    assert not [name for name in history.frame().columns if name.startswith("desired.")]
    history.annotate(run.id, desired={"category": "billing", "score": 2}, quality=0)
    frame = history.frame()
    names = list(frame.columns)
    values = ["input.ticket", "output.category", "output.score"]
    assert names[5:10] == [*values, "desired.category", "desired.score"]
    assert frame["desired.score"].tolist() == [pd.NA, 2]
    assert history.get(run.id).desired == {"category": "billing", "score": 2}
    assert page(history, order_by="desired.score")[0].id == run.id


def test_an_execution_id_is_stored_while_the_run_is_under_way(history, path, make_run):
    run = make_run()
    history.begin(run)
    set_execution_id(history, run.id, "exec-1")
    with History(path) as other:
        (stored,) = other.runs(execution_id="exec-1")
        assert (stored.id, stored.state) == (run.id, "STARTED")
    history.finish(run.model_copy(update={"state": "FULFILLED", "execution_id": "exec-1"}))
    set_execution_id(history, run.id, "exec-2")
    assert history.get(run.id).execution_id == "exec-1"


ANSWER = {"state": "FULFILLED", "outputs": {"a": 1}, "quality": 1.0, "desired": {"a": 2}}


def test_a_started_run_is_completed_by_its_external_id(history, make_run):
    run = make_run(external_id="x1", release_id="r1", inputs={"sent": 1})
    history.begin(run)
    answer = make_run(external_id="x1", execution_id="e1", release_id="r2", **ANSWER)
    assert (history.merge([answer]).completed, history.count()) == (1, 1)
    stored = history.get(run.id)
    assert (stored.execution_id, stored.inputs, stored.tag_moved) == ("e1", {"sent": 1}, True)
    assert (stored.outputs, stored.quality, stored.desired) == ({"a": 1}, 1.0, {"a": 2})


def test_a_started_run_is_completed_by_its_execution_id(history, make_run):
    run = make_run(external_id="x2", execution_id="e2")
    history.begin(run)
    report = history.merge([make_run(execution_id="e2", **ANSWER)])
    assert (report.completed, history.count()) == (1, 1)
    assert (history.get(run.id).outputs, history.get(run.id).tag_moved) == ({"a": 1}, False)


def test_execution_id_of_any_length_is_stored(history, record):
    execution_id = secrets.token_hex(20_000)  # an index of PostgreSQL has rows of at most 2.7 kB
    run = record(execution_id=execution_id, outputs={"reply": "paid"})
    assert history.runs(execution_id=execution_id) == history.runs(ids=[run.id]) == [run]


def test_what_cannot_be_called_cannot_subscribe(history):
    with pytest.raises(HistoryError, match="callback must be a function, not 5"):
        history.subscribe(5)
    with pytest.raises(HistoryError, match="on_bulk_change must be a function, not 5"):
        history.subscribe(print, on_bulk_change=5)


def test_only_a_run_can_be_recorded(history):
    for record in (history.begin, history.finish):
        with pytest.raises(HistoryError, match="run must be a Run, not 5"):
            record(5)
