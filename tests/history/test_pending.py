"""A PostgreSQL server that goes away while runs are recorded, and comes back; or refuses them."""

import io
import random
import select
import sqlite3
import stat
import sys
import threading
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest
import recorder

import vellum_nb as vnb
from vellum_nb import History, HistoryError
from vellum_nb.history import Sweeps
from vellum_nb.models.sweeps import SweepRecord

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def down(postgres):
    """Return what kills the server for a block, after which it runs again."""

    class Down:
        def __enter__(self):
            postgres.kill()

        def __exit__(self, *_):
            postgres.start()

    return Down()


@pytest.fixture
def guest_url(postgres, postgres_url, ask):
    """Return the URL for a user who may only read."""
    postgres.role("reader")
    ask("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    return postgres.url(postgres_url.rpartition("/")[2], user="reader")


def ended(run, **outputs):
    return run.model_copy(update={"state": "FULFILLED", "outputs": outputs})


def test_runs_of_the_time_without_a_server_are_merged_when_it_is_back(
    postgres_url, down, make_run, folder
):
    before, during, over = make_run(), make_run(inputs={"q": "\x00 \ud83d ü"}), make_run()
    with History(postgres_url) as history:
        history.begin(before)
        with down:
            with pytest.warns(UserWarning, match="cannot be reached: runs are recorded in") as told:
                history.begin(during)
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # one warning is enough
                history.finish(ended(during, a=1))
                history.finish(ended(before, a=2))
                history.begin(over)
            with pytest.raises(HistoryError, match="cannot be reached: check that its server runs"):
                history.count()
            (file,) = folder.glob("pending-*.db")
            assert str(file) in str(told[0].message)
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert history.get(during.id) == ended(during, a=1)
        assert history.get(before.id) == ended(before, a=2)
        history.finish(ended(over, a=3))
        assert [run.outputs for run in history.runs()] == [{"a": 3}, {"a": 1}, {"a": 2}]
    with History(file) as pending:
        assert pending.count() == 0


def test_what_cannot_wait_says_that_the_server_is_away(postgres_url, down, make_run):
    plan = {"id": "s", "deployment": "d", "release_tags": ("v1",), "cases": 0, "signature": ""}
    sweep = SweepRecord(created=make_run().timestamp, **plan)
    with History(postgres_url) as history:
        history.begin(make_run(id="a"))
        Sweeps(history).add(sweep, [])
        lease = Sweeps(history).acquire(sweep)
        with down:
            assert lease.renew() is False
            for call, given in (
                (history.delete, ["a"]),
                (history.annotate, "a"),
                (History, postgres_url),
            ):
                with pytest.raises(HistoryError, match=r"cannot be reached|was lost"):
                    call(given)
        assert history.count() == 1
        assert lease.renew()


def test_a_run_that_another_process_recorded_in_between_stays_as_it_is(
    postgres_url, down, make_run
):
    run = make_run(id="same", external_id="x")
    with History(postgres_url) as other:
        other.begin(run)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = History(postgres_url)
        with down:
            history.finish(ended(run, a=1))
            history.begin(make_run(id="doubt", external_id="taken"))
        with psycopg.connect(postgres_url, autocommit=True) as db:
            db.execute("UPDATE runs SET state = 'FULFILLED' WHERE id = 'same'")
            db.execute("""UPDATE payloads SET outputs = '{"b":2}'""")
        while history.count() < 2:  # merging is tried again after a second
            time.sleep(0.1)
        assert history.get("same").outputs == {"b": 2}
        history.close()
    assert any("1 differ, ours stay: same (outputs)" in str(each.message) for each in caught)


def is_killed_while_opening(forks, url, seconds):
    with forks.process(recorder.__file__, "open_once", url) as process:
        has_ended = select.select([process.stdout], [], [], seconds)[0]
        assert not has_ended or process.stdout.readline() == "closed\n"
        return not has_ended


@pytest.mark.slow
def test_killing_the_client_while_runs_are_pending_loses_no_acknowledged_run(
    postgres_url, down, forks, folder
):
    chance = random.Random(20261125)  # noqa: S311  (no secret depends on it)
    acknowledged, killed = 0, 0
    for number in range(2):
        name = f"round{number}"
        with forks.process(recorder.__file__, "record_for_ever", postgres_url, name) as process:
            lines = [process.stdout.readline() for _ in range(chance.randrange(1, 30))]
            with down:
                while not any(folder.glob("pending-*")):  # what was written before is in the pipe
                    lines.append(process.stdout.readline())
                lines += [process.stdout.readline() for _ in range(chance.randrange(60, 120))]
                process.kill()
                lines += process.stdout
        longest = 0.05
        while is_killed_while_opening(forks, postgres_url, chance.uniform(0, longest)):
            killed += 1
            longest *= 1.2
        began = {line.split()[1] for line in lines if line.startswith("began")}
        finished = {line.split()[1] for line in lines if line.startswith("ended")}
        with History(postgres_url) as history:
            runs = {run.id: run for run in history.runs(deployment=name)}
            assert history.count(deployment=name) == len(runs)
        assert began <= runs.keys()
        assert all(runs[one].outputs == {"reply": one} for one in finished)
        acknowledged += len(finished)
    assert acknowledged > 20
    assert killed > 0, "no kill came while pending runs were merged: the test has no teeth"


def test_a_sweep_whose_server_is_lost_on_the_way_loses_no_answer(postgres_url, down):
    calls = Counter()
    lock, many, back = threading.Lock(), threading.Event(), threading.Event()

    def shout(text: str) -> str:
        with lock:
            calls[text] += 1
            if sum(calls.values()) == 20:
                many.set()
        if sum(calls.values()) > 30:
            back.wait(120)
        return text.upper()

    with vnb.LocalServer() as server:
        server.deploy(shout, name="shout", release_tags=["v1"])
        with vnb.connect(server, history=postgres_url) as ws, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cases = [{"text": f"case {number}"} for number in range(60)]
            options = {"release_tags": ["v1"], "concurrency": 4, "progress": False}
            sweep = ws.sweep("shout", cases, background=True, **options)
            many.wait(120)
            with down:
                pass
            back.set()
            sweep.wait()
            if (sweep.frame()["state"] == "FULFILLED").sum() < 60:
                sweep.resume()
                sweep.wait()
            runs = ws.history.runs(sweep_id=sweep.id)
    assert all(run.state == "FULFILLED" for run in runs)
    assert calls == Counter(run.inputs["text"] for run in runs) == Counter(c["text"] for c in cases)


def test_who_may_only_read_loses_no_run(postgres_url, guest_url, ask, make_run):
    with History(postgres_url) as history:
        history.begin(make_run(id="there"))
    with History(guest_url) as history:
        with pytest.warns(UserWarning, match="are recorded in"):
            history.begin(make_run(id="a"))
        with pytest.raises(HistoryError, match="the user may not do that"):
            history.delete(["there"])
        assert history.count() == 1
    ask("GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO reader")
    with History(guest_url) as history:
        assert history.count() == 2


@pytest.fixture
def stored(postgres_url, make_run):
    """Record 600 runs."""
    runs = [make_run(state="FULFILLED") for _ in range(600)]
    with History(postgres_url) as history:
        history.merge(runs)
    return runs


@pytest.mark.slow
@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("export", ["to_csv", "to_jsonl", "to_parquet"])
def test_an_export_whose_server_is_lost_says_so_and_leaves_the_old_file(
    postgres, postgres_url, tmp_path, monkeypatch, export
):
    class Screen(io.StringIO):
        def write(self, text):
            if "0%" in text:  # the runs are counted, and none is read yet
                postgres.kill()
                postgres.start()
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


def test_a_run_that_waits_ends_where_it_waits_when_the_server_is_just_back(
    postgres_url, guest_url, ask, make_run
):
    with History(postgres_url):
        ask("GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO reader")
    run = make_run()
    with History(guest_url) as history:
        ask("REVOKE INSERT ON runs FROM reader")
        with pytest.warns(UserWarning, match="are recorded in"):
            history.begin(run)
        assert history.count() == 0  # tries to merge it, in vain
        ask("GRANT INSERT ON runs TO reader")
        history.finish(ended(run, a=1))
    with History(guest_url) as history:
        assert history.get(run.id).outputs == {"a": 1}


def test_a_damaged_run_that_waits_is_reported_and_stays_where_it_is(
    postgres_url, down, make_run, folder
):
    with History(postgres_url) as history, down:
        with pytest.warns(UserWarning, match="are recorded in"):
            history.begin(make_run(id="good"))
        history.begin(make_run(id="damaged"))
    (file,) = folder.glob("pending-*.db")
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE runs SET timestamp = 1 << 62 WHERE id = 'damaged'")
        db.commit()
    with (
        pytest.warns(UserWarning, match=r"cannot be merged .*1 damaged and left out: damaged"),
        History(postgres_url) as history,
    ):
        assert [run.id for run in history.runs()] == ["good"]
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT count(*) FROM runs WHERE id = 'damaged'").fetchone() == (1,)


def test_pending_runs_in_a_damaged_file_do_not_keep_the_history_closed(
    postgres_url, down, make_run, folder
):
    with History(postgres_url) as history, down, pytest.warns(UserWarning, match="recorded in"):
        history.begin(make_run(id="waits"))
    (file,) = folder.glob("pending-*.db")
    whole = file.read_bytes()
    file.write_bytes(b"damaged" * 400)
    with pytest.warns(UserWarning, match="cannot be merged into the history"):
        history = History(postgres_url)
    assert history.count() == 0
    history.close()
    file.write_bytes(whole)
    with History(postgres_url) as history:
        assert history.count() == 1


def test_an_answer_that_comes_while_a_program_locks_the_history_is_not_lost(
    postgres_url, setting, make_run
):
    run = make_run()
    setting("SET statement_timeout = '100ms'")
    with History(postgres_url) as history, psycopg.connect(postgres_url) as other:
        history.begin(run)
        other.execute("LOCK TABLE runs")  # as VACUUM FULL does
        with pytest.warns(UserWarning, match="are recorded in"):
            history.finish(ended(run, a=1))
        other.rollback()
        assert history.get(run.id).outputs == {"a": 1}


def test_a_server_that_takes_no_writes_keeps_no_run_from_being_recorded(
    postgres_url, ask, setting, make_run
):
    with History(postgres_url):
        setting("SET default_transaction_read_only = on")
    with History(postgres_url) as history:
        with pytest.warns(UserWarning, match="are recorded in"):
            history.begin(make_run(id="a"))
        with pytest.raises(HistoryError, match=r"accepts no writes \(it is a standby"):
            history.annotate("a", note="x")
        assert history.count() == 0  # pending runs do not keep it from being read
    ask("SET default_transaction_read_only = off")
    setting("RESET default_transaction_read_only")
    with History(postgres_url) as history:
        assert [run.id for run in history.runs()] == ["a"]


@pytest.mark.usefixtures("stored")
def test_a_scan_goes_on_over_a_restart_and_never_skips_a_run(postgres_url, down, make_run):
    found = []
    with History(postgres_url) as history, warnings.catch_warnings():
        warnings.simplefilter("error")  # a restart needs no word
        frames = history.scan(chunk_rows=250)
        found += next(frames)["id"].tolist()
        with down:
            pass
        for frame in frames:
            found += frame["id"].tolist()
        with down:
            pass
        history.begin(make_run(id="after"))
        assert history.count() == 601
    assert found == [f"run-{number}" for number in reversed(range(600))]


def test_a_merge_that_lost_its_server_is_finished_by_the_next(postgres_url, down, make_run, path):
    runs = [make_run(state="FULFILLED", outputs={"n": number}) for number in range(900)]
    with History(path) as other:
        other.merge(runs)
    with History(postgres_url) as history:
        with ThreadPoolExecutor(1) as pool:
            merging = pool.submit(history.merge, path)
            with down:
                pass
            merging.exception()
        report = history.merge(path)
        assert report.added + report.known == 900
        assert [run.id for run in history.runs()] == [run.id for run in reversed(runs)]


def test_a_server_without_a_free_connection_says_so(postgres, guest_url):
    postgres.execute("ALTER ROLE reader CONNECTION LIMIT 1")
    try:
        with (
            History(guest_url) as history,
            pytest.raises(HistoryError, match="no connection left; end another program"),
        ):
            history.count()
    finally:
        postgres.execute("ALTER ROLE reader CONNECTION LIMIT -1")
