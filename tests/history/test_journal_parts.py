"""A long journal is brought in by parts: nobody waits for all, and each write is made once."""

from __future__ import annotations

import random
import secrets
import signal
import warnings
from collections import Counter

import psycopg
import pytest

from vellum_nb import History, HistoryError
from vellum_nb.history.postgres.journal_files import JournalFile
from vellum_nb.history.store.later import packed

PART = 200


pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def left(postgres_url, make_run):
    """Return what leaves a journal as a killed process does: of so many runs, three writes each."""

    def leave(count):
        with History(postgres_url) as history:
            journal = JournalFile.new(history._store.journal._prefix)
        runs = [make_run(note=None) for _ in range(count)]
        for run in runs:
            journal.held.append(packed("begin", [run], {}))
            journal.held.append(packed("update", [run.id, {"note": "kept"}, {}], {}))
        for run in runs:
            ended = run.model_copy(update={"state": "FULFILLED", "outputs": {"a": run.id}})
            journal.held.append(packed("finish", [ended], {}))
        assert journal.write_held() is None
        journal.close()
        return runs

    return leave


def test_a_write_waits_for_one_part_of_what_waits_and_goes_behind_it(
    postgres_url, make_run, folder, monkeypatch
):
    monkeypatch.setattr("vellum_nb.history.postgres.journal._WAIT_S", 3600)  # nobody but us
    runs = [make_run(id=f"waits-{number}") for number in range(3 * PART)]
    with History(postgres_url) as history, warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        writer = history._store._writer.connection
        writer.execute("SET default_transaction_read_only = on")
        history.begin(runs[0])
        for run in runs[1:]:
            history.begin(run)
        writer.execute("SET default_transaction_read_only = off")
        history._store.journal._next_try = 0
        history.finish(runs[-1].model_copy(update={"state": "FULFILLED", "outputs": {"a": 1}}))
        with psycopg.connect(postgres_url) as other:
            assert other.execute("SELECT count(*) FROM runs").fetchone() == (PART,)
        (journal,) = folder.iterdir()
        assert len(journal.read_text().splitlines()) == 3 * PART + 1
        assert history.get(runs[-1].id).outputs == {"a": 1}
        assert history.count() == 3 * PART
    assert list(folder.iterdir()) == []


def test_who_opens_a_history_is_told_why_that_takes_long(
    postgres_url, left, folder, monkeypatch, capsys
):
    left(300)
    (path,) = folder.iterdir()
    monkeypatch.setattr("vellum_nb.history.postgres.journal._TOLD_AFTER_S", -1)
    with History(postgres_url) as history:
        assert history.count() == 300
    told, _, share = capsys.readouterr().err.partition("%")[0].rpartition(" ")
    assert (
        told
        == f"What was recorded while {postgres_url} was out of reach is brought in from {path}:"
    )
    assert 0 < int(share) < 100


def test_each_write_is_made_once_however_often_bringing_in_is_killed(
    postgres_url, left, ask, opened, folder
):
    runs = left(600)
    ask("CREATE TABLE seen (id TEXT, state TEXT)")
    ask(
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO seen VALUES (NEW.id, NEW.state); RETURN NEW; END $$"
    )
    ask("CREATE TRIGGER see AFTER INSERT OR UPDATE ON runs FOR EACH ROW EXECUTE FUNCTION see()")
    chance = random.Random(20261125)  # noqa: S311  (no secret depends on it)
    came = [0]

    def made():
        return ask("SELECT count(*) FROM seen").fetchone()[0]

    def goes_on():
        return made() > came[-1]

    while opened(postgres_url, chance.uniform(0, 0.05), after=goes_on) == -signal.SIGKILL:
        came.append(made())
    assert 0 < came[1] < 1800, "it was never killed in the midst: the test has lost its teeth"
    assert all(count % PART == 0 for count in came)
    seen = Counter(ask("SELECT id, state FROM seen").fetchall())
    assert seen == {
        **{(run.id, "STARTED"): 2 for run in runs},  # begun, then noted
        **{(run.id, "FULFILLED"): 1 for run in runs},
    }
    with History(postgres_url) as history:
        assert {run.id: run.outputs for run in history.runs()} == {r.id: {"a": r.id} for r in runs}
    assert list(folder.iterdir()) == []


def test_a_part_of_long_lines_is_short(tmp_path):
    journal = JournalFile(tmp_path / "one.jsonl")
    journal.held = ["x" * 2**20 for _ in range(20)]
    assert journal.write_held() is None
    numbers = []
    while part := journal.part():
        assert len(part) <= 5
        numbers += [number for number, _ in part]
        journal.mark_made(part, refused=0)
    assert numbers == list(range(1, 21))


def test_lines_that_memory_held_keep_their_numbers_on_the_disk(tmp_path):
    journal = JournalFile(tmp_path / "one.jsonl")
    journal.append("first")
    journal.held = ["second", "third"]
    assert journal.part() == [(1, "first"), (2, "second"), (3, "third")]
    made = journal.part(2)
    journal.mark_made(made, refused=0)
    assert journal.part() == [(3, "third")]
    journal.append("fourth")
    assert journal.held == []
    assert journal.part() == [(3, "third"), (4, "fourth")]
    with journal.path.open("a") as file:
        file.write("cut sh")
    journal.mark_made(journal.part(), refused=0)
    assert journal.part() == []


@pytest.mark.parametrize("problem", ["22", "23", "54"])
def test_an_answer_that_the_server_refuses_is_kept_and_told(
    postgres_url, ask, make_run, folder, problem
):
    run = make_run()
    answer = {"state": "FULFILLED", "outputs": {"a": "paid for"}}
    with History(postgres_url) as history:
        history.begin(run)
        if problem == "54":  # an index takes no such value
            answer["execution_id"] = secrets.token_hex(18000)
        elif problem == "23":
            ask("ALTER TABLE payloads ADD CHECK (outputs NOT LIKE '%paid%')")
        else:
            ask("CREATE INDEX ON payloads (CAST(outputs::json ->> 'a' AS bigint)) WHERE seq > 0")
        ended = run.model_copy(update=answer)
        with pytest.raises(HistoryError, match=r"PostgreSQL refused it.*is kept in") as told:
            history.finish(ended)
        assert history.get(run.id) == run
        history.begin(make_run(id="goes on"))
    (kept,) = folder.iterdir()
    assert str(kept) in str(told.value)
    assert kept.suffix == ".refused"
    assert "paid for" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0


def test_what_is_refused_is_lost_only_in_so_many_words(postgres_url, ask, make_run, folder):
    folder.parent.parent.mkdir()
    folder.parent.write_text("a file where the folder should be")
    run = make_run()
    with History(postgres_url) as history:
        history.begin(run)
        ask("ALTER TABLE payloads ADD CHECK (outputs NOT LIKE '%paid%')")
        with pytest.raises(HistoryError, match=r"It is lost: .*\.refused cannot be written"):
            history.finish(run.model_copy(update={"state": "FULFILLED", "outputs": {"a": "paid"}}))
