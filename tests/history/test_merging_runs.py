"""A list of runs comes into a history: by their ids first, as another history's runs do."""

import pytest

from vellum_nb import History


@pytest.fixture
def begun(history, make_run):
    """Return a run that is STARTED here, as it was sent."""
    history.begin(run := make_run(state="STARTED", external_id="x", release_id="r1"))
    return run


def test_a_run_that_is_started_here_is_completed_by_one_of_its_id(history, begun):
    ended = begun.model_copy(
        update={"state": "FULFILLED", "outputs": {"a": 1}, "external_id": None, "note": "theirs"}
    )
    assert str(history.merge([ended])).startswith("0 added, 1 completed")
    found = history.get(begun.id)
    assert (found.state, found.outputs, found.note) == ("FULFILLED", {"a": 1}, "theirs")
    assert found.external_id == "x"
    assert history.merge([ended]).known == 1


def test_what_differs_in_a_run_of_the_same_id_is_reported_and_ours_is_kept(history, record):
    ours = record(outputs={"a": 1}, note="ours")
    theirs = ours.model_copy(update={"outputs": {"a": 2}, "note": "theirs", "cost_usd": 0.5})
    report, told = history.merge([theirs]), f"{ours.id} (outputs)"
    assert (report.updated, [(c.id, c.fields) for c in report.conflicts]) == (
        1,
        [(ours.id, ("outputs",))],
    )
    assert str(report + report).endswith(f"; 2 differ, ours kept: {told}; {told}")
    found = history.get(ours.id)
    assert (found.outputs, found.cost_usd, found.note) == ({"a": 1}, 0.5, "ours\ntheirs")


def test_runs_that_are_started_there_are_counted_and_change_nothing(history, record, begun):
    ended = record()
    new = begun.model_copy(update={"id": "new", "external_id": "y"})
    again = ended.model_copy(update={"state": "STARTED", "outputs": {}})
    before = history.runs()
    report = history.merge([begun, new, again])
    assert (report.running, report.added, report.known, report.conflicts) == (3, 0, 0, ())
    assert history.runs() == before


def test_the_runs_of_another_history_can_be_merged_as_a_list_and_twice(
    history, record, make_run, tmp_path
):
    record()
    with History(tmp_path / "other.db") as other:
        runs = [make_run(state="FULFILLED", outputs={"text": "x" * 40_000}) for _ in range(3)]
        other.merge(runs)
        assert history.merge(other.runs()).added == 3
        assert history.merge(other.runs()).known == 3
        assert history.runs()[:3] == other.runs()
