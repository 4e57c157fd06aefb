"""A server that restarts, is full, forbids, or gives up: told in a sentence, nothing lost."""

from __future__ import annotations

import io
import resource
import sys
import threading
import warnings
from contextlib import contextmanager

import pytest
from vellum_nb.history.reading import sorting
from vellum_nb.history.searching import index

from vellum_nb import History, HistoryError

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def guest_url(postgres, postgres_url, ask):
    """Return the URL for a user who may only read."""
    if not postgres.execute("SELECT 1 FROM pg_roles WHERE rolname = 'reader'"):
        postgres.execute("CREATE ROLE reader LOGIN")
    ask("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    return postgres.url(postgres_url.rpartition("/")[2], user="reader")


def restart(postgres):
    postgres.kill()
    postgres.start()


def setting(ask, what):
    """Change a setting of the database, for connections to come."""
    name = ask("SELECT current_database()").fetchone()[0]
    ask(f"ALTER DATABASE {name} {what}")


@pytest.fixture
def stored(postgres_url, make_run):
    """Record 600 runs."""
    runs = [make_run() for _ in range(600)]
    with History(postgres_url) as history:
        history.sweeps.record(begun=runs)
    return runs


@pytest.mark.usefixtures("stored")
def test_a_scan_goes_on_over_a_restart(postgres, postgres_url):
    with History(postgres_url) as history:
        frames = history.scan(chunk_rows=250)
        found = next(frames)["id"].tolist()
        restart(postgres)
        for frame in frames:
            found += frame["id"].tolist()
    assert found == [f"run-{number}" for number in reversed(range(600))]


@pytest.mark.usefixtures("stored")
def test_a_read_waits_for_a_server_that_is_started_again(postgres, postgres_url):
    with History(postgres_url) as history:
        assert history.count() == 600
        postgres.kill()
        starting = threading.Timer(0.5, postgres.start)
        starting.start()
        assert history.count() == 600
        starting.join()


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("export", ["to_csv", "to_jsonl", "to_parquet"])
def test_an_export_whose_server_is_lost_says_so_and_leaves_the_old_file(
    postgres, postgres_url, tmp_path, monkeypatch, export
):
    class Screen(io.StringIO):
        def write(self, text):
            if "0%" in text:  # the runs are counted, and none is read yet
                restart(postgres)
            return super().write(text)

    old = tmp_path / "exports" / "runs.file"
    old.parent.mkdir()
    old.write_text("old")
    with History(postgres_url) as history:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", Screen())
            with pytest.raises(HistoryError, match=r"The connection .* was lost; try again"):
                getattr(history, export)(old, progress=True)
        assert [each.read_text() for each in old.parent.iterdir()] == ["old"]
        getattr(history, export)(old, progress=False)
        assert old.stat().st_size > 600


@pytest.mark.usefixtures("stored")
def test_an_export_that_the_server_ends_is_not_told_as_a_lost_connection(
    postgres_url, ask, tmp_path
):
    ask("ALTER TABLE runs RENAME TO slow")
    ask("CREATE VIEW runs AS SELECT slow.* FROM slow, pg_sleep(0.2)")
    with History(postgres_url) as history:
        setting(ask, "SET statement_timeout = '100ms'")
        with pytest.raises(HistoryError, match="cannot be used: the server ended the statement"):
            history.to_csv(tmp_path / "runs.csv")
    assert list(tmp_path.iterdir()) == []


def test_what_a_statement_timeout_ends_waits_in_the_journal(postgres_url, ask, make_run):
    setting(ask, "SET statement_timeout = '100ms'")
    with History(postgres_url) as history, History(postgres_url) as other:
        with (
            other._store.write(),
            pytest.warns(RuntimeWarning, match=r"ended the statement.*kept in"),
        ):
            history.begin(make_run(id="a"))
        with pytest.warns(RuntimeWarning, match="is back: 1 writes"):
            assert history.get("a").id == "a"


def test_a_server_that_takes_no_writes_is_told_and_they_wait_for_the_next(
    postgres_url, ask, make_run, folder
):
    setting(ask, "SET default_transaction_read_only = on")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with History(postgres_url) as history:
            history.begin(make_run(id="a"))
            assert history.count() == 0
        assert "takes no writes (it is a standby, or read-only)" in str(told[0].message)
        with History(postgres_url) as history:  # what waits does not keep it from being read
            assert history.count() == 0
        assert len(list(folder.iterdir())) == 1
        ask("SET default_transaction_read_only = off")
        setting(ask, "RESET default_transaction_read_only")
        with History(postgres_url) as history:
            assert [run.id for run in history.runs()] == ["a"]
    assert list(folder.iterdir()) == []


def test_who_may_only_read_is_told_and_loses_nothing(postgres_url, guest_url, ask, make_run):
    with History(postgres_url) as history:
        history.begin(make_run(id="there"))
    with History(guest_url) as history:
        with pytest.warns(RuntimeWarning, match=r"the user may not do that; ask for.*kept in"):
            history.begin(make_run(id="a"))
        with pytest.raises(HistoryError, match="the user may not do that"):
            history.delete(["there"])
        assert history.count() == 1
        ask("GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO reader")
        with pytest.warns(RuntimeWarning, match="is back: 1 writes"):
            assert history.count() == 2


def test_a_server_without_a_free_connection_is_told(postgres, guest_url):
    postgres.execute("ALTER ROLE reader CONNECTION LIMIT 1")
    try:
        with (
            History(guest_url) as history,
            pytest.raises(HistoryError, match="no connection left; end another program"),
        ):
            history.count()
    finally:
        postgres.execute("ALTER ROLE reader CONNECTION LIMIT -1")


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
def test_writers_take_turns_whatever_isolation_the_server_prefers(postgres_url, ask, isolation):
    setting(ask, f"SET default_transaction_isolation = '{isolation}'")
    numbers = []

    def work():
        with History(postgres_url) as history, history._store.write() as connection:
            found = connection.execute("SELECT count(*) FROM settings").fetchone()[0]
            row = (f"n{found}", "x")
            connection.execute("INSERT INTO settings (name, value) VALUES (?, ?)", row)
            numbers.append(found)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(8))


def test_a_database_that_not_every_text_fits_into_is_refused(postgres):
    postgres.execute("DROP DATABASE IF EXISTS narrow")
    postgres.execute("CREATE DATABASE narrow ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(HistoryError, match="encoded as LATIN1.*ENCODING 'UTF8'"):
        History(postgres.url("narrow"))


def test_the_encoding_of_the_environment_does_not_matter(postgres_url, make_run, monkeypatch):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with History(postgres_url) as history:
        history.begin(make_run(id="東京 😀"))
        assert history.runs()[0].id == "東京 😀"
        assert history.frame()["id"].tolist() == ["東京 😀"]


@pytest.fixture
def away():
    """Let the server take no writes for the block."""

    @contextmanager
    def block(history):
        writer = history._store._writer.connection
        writer.execute("SET default_transaction_read_only = on")
        yield
        if not writer.raw.closed:
            writer.execute("SET default_transaction_read_only = off")

    return block


def test_a_journal_that_cannot_be_written_is_held_in_memory(postgres_url, away, make_run, folder):
    folder.parent.parent.mkdir()
    folder.parent.write_text("a file where the folder should be")
    with History(postgres_url) as history:
        with away(history):
            with pytest.warns(RuntimeWarning, match="cannot be written.*memory of this process"):
                history.begin(make_run(id="a"))
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                history.annotate("a", note="told once")
        with pytest.warns(RuntimeWarning, match="is back: 2 writes"):
            assert history.get("a").note == "told once"


@contextmanager
def no_file_above(size):
    """Have the system take no more than so many bytes of any file, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_below_the_journal_spoils_no_line_of_it(postgres_url, away, make_run, folder):
    runs = [make_run() for _ in range(8)]
    with History(postgres_url) as history:
        with away(history), warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            with no_file_above(3000):
                for run in runs[:6]:
                    history.begin(run)
            (journal,) = folder.iterdir()
            assert 0 < len(journal.read_text().splitlines()) < 6
            assert journal.read_text().endswith("\n")
            history.begin(runs[6])
            assert len(journal.read_text().splitlines()) == 7
            history.begin(runs[7])
        assert ["memory of this process" in str(each.message) for each in told] == [False, True]
        with pytest.warns(RuntimeWarning, match="is back: 8 writes"):
            assert [run.id for run in reversed(history.runs())] == [run.id for run in runs]


def test_what_could_be_kept_nowhere_is_told_at_the_end(postgres_url, away, make_run):
    history = History(postgres_url)
    with away(history), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with no_file_above(0):
            history.begin(make_run())
            history.close()
    assert "1 writes are lost" in str(told[-1].message)


def test_who_may_not_read_what_others_derived_does_without(
    postgres_url, guest_url, make_run, monkeypatch
):
    monkeypatch.setattr(index, "SLICE", 1)
    monkeypatch.setattr(sorting, "LONG", 0)
    with History(postgres_url) as history:
        for number in range(3):
            run = make_run(state="FULFILLED", outputs={"n": number})
            history.begin(run.model_copy(update={"state": "STARTED", "outputs": {}}))
            history.finish(run)
        expected = [run.id for run in history.page(order_by="output.n", search="text")]
        list(history.prepare(order_by="output.n", search="text"))
        assert [run.id for run in history.page(order_by="output.n", search="text")] == expected
    with History(guest_url) as history:
        assert [run.id for run in history.page(order_by="output.n", search="text")] == expected
        assert len(history.search("text")) == 3
