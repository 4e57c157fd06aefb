"""The password of a history on a server: only libpq gets it."""

import logging
import pickle
import sys
import traceback
from pathlib import Path

import psycopg
import pytest
from runs_kit import html_of

import vellum_nb as vnb
from vellum_nb import History, HistoryError
from vellum_nb.__main__ import main
from vellum_nb.cli import parser
from vellum_nb.history import DatabaseUrl

SECRET = "s3cret/of#ada"
WRITTEN = "s3cret%2Fof%23ada"
STARTS = ("postgresql//", "postgres//", "postgresql:", " Postgres:/", "mysql://", "postgresql+x://")


@pytest.fixture
def guarded_url(postgres, postgres_url):
    """Return the URL of a history whose user has a password."""
    postgres.role("guarded", f"SUPERUSER PASSWORD '{SECRET}'")
    return postgres.url(postgres_url.rpartition("/")[2], user="guarded")


def with_password(url, password):
    return url.replace("guarded@", f"guarded:{password}@")


def everything_of(exc):
    """Return the traceback with the variables of each of our frames, and all of the causes."""
    told = traceback.TracebackException.from_exception(exc, capture_locals=True)
    here = Path(__file__).name
    found = []
    while told is not None:
        for frame in told.stack:
            if not frame.filename.endswith(here):  # what the user wrote is the user's
                found += [*(frame.locals or {}).values(), frame.line]
        found.append(str(told))
        told = told.__cause__ or told.__context__
    return "\n".join(map(str, found))


def test_a_password_in_the_url_is_taken_out_at_once(
    postgres, guarded_url, make_run, tmp_path, caplog
):
    caplog.set_level(logging.DEBUG)
    with History(with_password(guarded_url, WRITTEN)) as history:
        history.begin(make_run())
        shown = [repr(history), str(history.path), html_of(history), repr(vars(history))]
        shown += [repr(vars(history._store))]
        shown += [repr(pickle.dumps(DatabaseUrl(with_password(guarded_url, WRITTEN))))]
        for write in (history.to_csv, history.to_jsonl, history.to_parquet):
            shown.append(write(tmp_path / "file").read_bytes().decode(errors="replace"))
        assert history.path == guarded_url
        with pytest.raises(HistoryError) as caught:
            history.begin(history.runs()[0])
        shown.append(everything_of(caught.value))
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        database = guarded_url.rpartition("/")[2]
        for (table,) in postgres.execute(tables, database):
            shown.append(repr(postgres.execute(f"SELECT * FROM {table}", database)))
    assert "s3cret" not in "\n".join([*shown, repr(history), caplog.text])


def merged(url):
    with History(":memory:") as history:
        history.merge(url)


def written(name):
    def write(url):
        with History(":memory:") as history:
            getattr(history, name)(url)

    return write


OPENERS = {
    "History": History,
    "connect": lambda url: vnb.connect("local", history=url),
    "merge": merged,
}
OF_FILES = {
    "check_history": vnb.check_history,
    **{name: getattr(vnb, name) for name in ("read_csv", "read_jsonl", "read_parquet")},
    **{name: written(name) for name in ("to_csv", "to_jsonl", "to_parquet", "backup")},
}


@pytest.mark.parametrize("opener", OPENERS)
def test_a_wrong_password_is_in_no_error_and_in_no_variable_of_a_traceback(guarded_url, opener):
    url = with_password(guarded_url, WRITTEN + "x")
    with pytest.raises(HistoryError, match="password authentication failed") as caught:
        OPENERS[opener](url)
    assert "~/.pgpass" in str(caught.value)
    assert "s3cret" not in everything_of(caught.value)


@pytest.mark.parametrize("opener", OPENERS)
def test_an_unreachable_server_shows_no_password(opener):
    with pytest.raises(HistoryError, match="cannot be reached") as caught:
        OPENERS[opener](f"postgresql://ada:{WRITTEN}@127.0.0.1:9/team")
    assert "s3cret" not in everything_of(caught.value)


@pytest.mark.parametrize("reader", OF_FILES)
def test_the_url_of_a_database_in_place_of_a_file_shows_no_password(reader):
    with pytest.raises(HistoryError, match=r"ada@127\.0\.0\.1:9/team is a database, not") as caught:
        OF_FILES[reader](f"postgresql://ada:{WRITTEN}@127.0.0.1:9/team")
    assert "s3cret" not in everything_of(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda ws, url: ws.sweep("ticket-triage", url),
        lambda ws, url: ws.sweep("ticket-triage", [{"ticket": "a"}], files=url),
        lambda ws, url: ws.compare("ticket-triage", cases=url),
    ],
)
def test_the_url_of_a_database_in_place_of_cases_shows_no_password(call):
    with vnb.connect("local", history=":memory:") as ws, pytest.raises(vnb.VellumNBError) as caught:
        call(ws, f"postgresql://ada:{WRITTEN}@127.0.0.1:9/team")
    assert "s3cret" not in everything_of(caught.value)


@pytest.mark.parametrize("problem", [KeyboardInterrupt, ValueError, TypeError, OSError])
def test_what_breaks_connecting_off_shows_no_password(problem, monkeypatch):
    names = {"problem": problem}
    driver = "def fail(conninfo, **options):\n    raise problem(options['connect_timeout'])"
    exec(compile(driver, "driver.py", "exec"), names)  # noqa: S102 - in a file of its own
    monkeypatch.setattr(psycopg, "connect", names["fail"])
    expected = HistoryError if problem is OSError else problem  # a mistake is not a lost server
    with pytest.raises(expected) as caught:
        History(f"postgresql://ada:{WRITTEN}@127.0.0.1:9/team")
    assert "s3cret" not in everything_of(caught.value)


def test_a_command_that_fails_shows_no_password(capsys):
    assert main(["history", "export", "--history", f"postgresql:/ada:{WRITTEN}@h/team"]) == 1
    assert main(["history", "check", f"postgresql://ada:{WRITTEN}@127.0.0.1:9/team"]) == 1
    told = capsys.readouterr().err
    assert "cannot be parsed" in told
    assert "is a database, not a file" in told
    assert "s3cret" not in told


def test_the_password_may_come_from_options_the_environment_or_a_file(
    guarded_url, tmp_path, monkeypatch
):
    with History(f"{guarded_url}?password={WRITTEN}&application_name=x") as history:
        assert history.path == f"{guarded_url}?application_name=x"
        assert history.count() == 0
    with pytest.raises(HistoryError, match="no password supplied"):
        History(f" {guarded_url.replace('postgresql', 'PostgreSQL')}\n")  # no other URL
    monkeypatch.setenv("PGPASSWORD", SECRET)
    with History(guarded_url) as history:
        assert history.count() == 0
    monkeypatch.delenv("PGPASSWORD")
    file = tmp_path / "pgpass"
    file.touch(mode=0o600)
    file.write_text(f"*:*:*:guarded:{SECRET}\n")
    monkeypatch.setenv("PGPASSFILE", str(file))
    with History(guarded_url) as history:
        assert history.count() == 0


@pytest.mark.parametrize(
    ("url", "message"),
    [
        *((f"postgresql://ada:{odd}s3cret@h/db", "-encoded") for odd in ("a/", "a#", "?", "/@")),
        *((f"{start}ada:s3cret@host/db", "begins with postgresql://") for start in STARTS),
        (Path(f"postgresql://ada:{WRITTEN}@db/team"), "begins with postgresql://"),
        ("host=127.0.0.1 user=ada password=s3cret", "begins with postgresql://"),
        ("file:postgresql://ada:s3cret@host/db", "begins with postgresql://"),
    ],
)
def test_a_url_that_is_none_makes_no_file_and_is_refused_unseen(
    url, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HistoryError, match=message) as caught:
        History(url)
    assert "s3cret" not in everything_of(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_lost_server_shows_no_password(postgres, guarded_url, make_run, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    history = History(with_password(guarded_url, WRITTEN))
    postgres.kill()
    try:
        with pytest.warns(UserWarning, match="are recorded in") as told:
            history.begin(make_run())
        with pytest.raises(HistoryError, match="cannot be reached") as caught:
            history.count()
        (pending,) = tmp_path.rglob("pending-*.db")
        shown = [str(told[0].message), everything_of(caught.value), pending.name]
        assert "s3cret" not in "\n".join([*shown, repr(pending.read_bytes())])
    finally:
        postgres.start()
    history.close()


def test_a_history_without_psycopg_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for name in [name for name in sys.modules if name.startswith("vellum_nb.history.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(HistoryError, match=r"pip install 'vellum-nb\[postgres\]'"):
        History("postgresql://ada:s3cret@host/db")


@pytest.mark.parametrize("typed", [["--history", "{}", "history"], ["history", "vacuum", "{}"]])
def test_a_mistyped_command_shows_no_password(typed, capsys):
    url = "postgresql://ada:hunter2@db.example/team"
    with pytest.raises(SystemExit):
        parser().parse_args([each.format(url) for each in typed])
    told = capsys.readouterr().err
    assert "postgresql://db.example/team" in told
    assert "hunter2" not in told
