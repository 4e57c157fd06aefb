"""Answers that wait for PostgreSQL while the runs that wait cannot be merged: none is lost."""

import warnings

import pytest

from vellum_nb import History, HistoryError

pytestmark = pytest.mark.usefixtures("folder")

REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'not today'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON runs FOR EACH ROW {when} EXECUTE FUNCTION refuse()
"""


@pytest.fixture
def waiting(postgres, postgres_url, make_run):
    """Return an open history, and two runs that began while its server was away."""
    runs = [make_run(id="a"), make_run(id="b")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with History(postgres_url) as history:
            postgres.kill()
            for run in runs:
                history.begin(run)
            postgres.start()
            yield history, runs


def finish_each(history, runs):
    """Finish runs; return the ids of those whose answer is raised with an error instead."""
    raised = set()
    for run in runs:
        answer = run.model_copy(update={"state": "FULFILLED", "outputs": {"of": run.id}})
        try:
            history.finish(answer)
        except HistoryError:
            raised.add(run.id)
    return raised


@pytest.mark.parametrize("when", ["", "WHEN (NEW.id = 'a')", "WHEN (NEW.id = 'b')"])
def test_answers_of_runs_whose_merge_fails_are_merged_later(
    postgres, postgres_url, waiting, folder, when
):
    history, runs = waiting
    database = postgres_url.rpartition("/")[2]
    postgres.execute(REFUSE.format(when=when), database)
    assert history.count() <= 1
    assert finish_each(history, runs) == set()
    postgres.execute("DROP TRIGGER refuse ON runs", database)
    with History(postgres_url) as later:
        assert {run.id: run.outputs for run in later.runs()} == {
            "a": {"of": "a"},
            "b": {"of": "b"},
        }
    (file,) = folder.glob("pending-*.db")
    with History(file) as pending:
        assert pending.count() == 0


def test_row_that_was_not_acknowledged_stays_in_the_pending_file(
    postgres, postgres_url, waiting, folder
):
    history, _ = waiting
    postgres.execute(REFUSE.format(when="WHEN (NEW.id = 'a')"), postgres_url.rpartition("/")[2])
    history.count()
    history.close()
    (file,) = folder.glob("pending-*.db")
    with History(file) as pending:
        assert "a" in {run.id for run in pending.runs()}
