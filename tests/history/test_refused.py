"""What a server refused for its values is listed, and comes in when the reason is gone."""

from __future__ import annotations

import resource

import pytest

from vellum_nb import History, HistoryError
from vellum_nb.__main__ import main
from vellum_nb.history.postgres.journal_files import JournalFile
from vellum_nb.history.store.later import packed

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def history(postgres_url, ask):
    """Return a history in which no answer may be called bad."""
    with History(postgres_url) as history:
        ask("ALTER TABLE payloads ADD CONSTRAINT polite CHECK (outputs NOT LIKE '%bad%')")
        yield history


def ended(run, reply):
    return run.model_copy(update={"state": "FULFILLED", "outputs": {"reply": reply}})


@pytest.fixture
def refused(history, make_run):
    """Return a run whose answer was refused."""
    history.begin(run := make_run())
    with pytest.raises(HistoryError, match=r"polite.*history\.retry_refused\(\) tries it again"):
        history.finish(ended(run, "bad"))
    return run


def test_a_refused_answer_is_listed_and_comes_in_when_the_reason_is_gone(
    history, ask, refused, folder
):
    (row,) = history.refused().itertuples()
    assert (row.write, row.runs) == ("finish", refused.id)
    assert "polite" in row.problem
    again = history.retry_refused()
    assert (again.made, [each.runs for each in again.refused]) == (0, [(refused.id,)])
    assert repr(again).startswith(
        f"<Retried: 0 writes made, 1 refused once more: finish {refused.id}"
    )
    assert len([*folder.iterdir()]) == 1
    assert history.get(refused.id) == refused
    ask("ALTER TABLE payloads DROP CONSTRAINT polite")
    told = []
    history.subscribe(lambda _run: None, many=lambda: told.append("many"))
    assert repr(history.retry_refused()) == "<Retried: 1 write made>"
    assert told == ["many"]
    assert history.get(refused.id) == ended(refused, "bad")
    assert history.refused().empty
    assert [*folder.iterdir()] == []


def test_of_a_sweeps_answers_only_those_are_refused_that_have_to_be(history, make_run):
    runs = [make_run() for _ in range(4)]
    history.sweeps.record(begun=runs[:3])
    answers = [ended(run, reply) for run, reply in zip(runs, ("a", "bad", "c"), strict=False)]
    with pytest.raises(HistoryError, match="polite"):
        history.sweeps.record(begun=runs[3:], ended=answers)
    states = {run.id: run.state for run in history.runs()}
    assert [states[run.id] for run in runs] == ["FULFILLED", "STARTED", "FULFILLED", "STARTED"]
    assert history.refused()["runs"].tolist() == [runs[1].id]


def test_of_a_journal_too(history, make_run, postgres_url):
    runs = [make_run() for _ in range(3)]
    journal = JournalFile.new(history._store.journal._prefix)
    journal.held.append(packed("record", [runs, []], {}))
    answers = [ended(run, reply) for run, reply in zip(runs, ("a", "bad", "c"), strict=True)]
    journal.held.append(packed("record", [[], answers], {}))
    assert journal.write_held() is None
    journal.close()
    with pytest.warns(RuntimeWarning, match="1 writes were refused"), History(postgres_url):
        pass
    assert sum(run.state == "FULFILLED" for run in history.runs()) == 2
    assert history.refused()["runs"].tolist() == [runs[1].id]


def test_a_death_before_the_file_is_gone_makes_no_write_twice(
    history, ask, refused, make_run, monkeypatch
):
    ask("ALTER TABLE payloads DROP CONSTRAINT polite")
    with monkeypatch.context() as patch:
        patch.setattr(JournalFile, "remove", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            history.retry_refused()
    assert history.get(refused.id).state == "FULFILLED"
    history.annotate(refused.id, note="since")
    assert history.retry_refused().made == 1
    assert history.runs() == [ended(refused, "bad").model_copy(update={"note": "since"})]


def test_what_another_process_tries_or_may_add_to_is_left_to_it(history, refused):
    file = JournalFile.taken_over(history._store.journal.refused()[0].path)
    assert history.retry_refused().made == 0
    file.close()
    (beside := file.path.with_suffix(".jsonl")).touch()
    assert history.refused().empty
    beside.unlink()
    assert len(history.refused()) == 1


@pytest.mark.parametrize("line", [b"{}x", b"\xff", b'"why" null', b'"why" ["finish",null,{}]'])
def test_a_damaged_file_is_told_with_its_line(line, history, refused):
    path = history._store.journal.refused()[0].path
    path.write_bytes(path.read_bytes() + line + b"\n")
    for call in (history.refused, history.retry_refused):
        with pytest.raises(HistoryError, match=r"\.refused is damaged in line 2"):
            call()


def test_a_file_that_goes_while_it_is_listed_is_left_out(history, refused, folder):
    (path,) = folder.iterdir()
    path.unlink()
    path.symlink_to(folder / "gone")  # found in the folder, and not there when it is opened
    assert history.refused().empty


def test_what_no_disk_takes_when_it_is_refused_once_more_stays(history, refused, folder):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(HistoryError, match=r"File too large.*stays; make room"):
            history.retry_refused()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_the_command_line_lists_and_tries_again(ask, refused, postgres_url, capsys):
    assert main(["history", "refused", "--history", postgres_url]) == 2
    assert capsys.readouterr().out.startswith(f"finish\t{refused.id}\tThe history")
    ask("ALTER TABLE payloads DROP CONSTRAINT polite")
    assert main(["history", "refused", "--retry", "--history", postgres_url]) == 0
    assert capsys.readouterr().err == "Retried: 1 write made\n"


def test_a_file_refuses_nothing(tmp_path):
    with History(tmp_path / "runs.db") as history:
        assert history.refused().columns.tolist() == ["write", "runs", "problem", "path"]
        assert history.retry_refused().made == 0
