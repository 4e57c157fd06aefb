"""Searching: with the index, without it, and while it is being made, the same runs are found."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vellum_nb import History, HistoryError
from vellum_nb.history.searching import index
from vellum_nb.history.searching.tsvector import parts
from vellum_nb.models import RunError

PIECES = ["refund", "refunds", "Policy", "größe", "Große", "e\u0301", "a-b", "12.5", '"', "¶"]
FOREIGN = ["東京", "京都", "ไทย", "👍"]
HOSTILE = ["\ud83d", "\x00", "x" * 120, "data:text/plain;base64,cmVmdW5k"]
TEXTS = st.lists(st.sampled_from([*PIECES, *FOREIGN, *HOSTILE]), max_size=6).map(" ".join)


@pytest.fixture
def small_slices(monkeypatch):
    """Index from the first run on."""
    monkeypatch.setattr(index, "SLICE", 1)


def ids(found):
    return found["id"].tolist()


def indexed(history):
    """Return the numbers of the runs that the index knows."""
    sql = {
        "sqlite": "SELECT rowid FROM search_words WHERE search_words MATCH 'common'",
        "postgresql": "SELECT seq FROM search_words WHERE words @@ CAST('common' AS TSQUERY)",
    }
    return sorted(seq for (seq,) in history._store.read(sql[history._store.dialect.name]))


def fill(history, make_run, count, **fields):
    for _ in range(count):
        run = make_run(state="FULFILLED", outputs={"reply": "common words"}, **fields)
        history.begin(run.model_copy(update={"state": "STARTED", "outputs": {}}))
        history.finish(run)


def test_a_search_returns_the_frame_with_what_was_found_where(history, record):
    record(id="a", inputs={"q": "Where is my refund?"}, outputs={"reply": "On its way."})
    record(id="b", inputs={"q": "Hello"}, outputs={"reply": "No refunds, says our policy"})
    record(id="c", inputs={"q": "refund"}, release_tag="v2", note="see the policy")
    found = history.search("refund")
    assert ids(found) == ["c", "b", "a"]
    assert found.columns[-1] == "match"
    assert found["match"].tolist()[1:] == [
        "output.reply: No refunds, says our policy",
        "input.q: Where is my refund?",
    ]
    assert ids(history.search("refund policy")) == ["c", "b"]
    assert ids(history.search("refund policy", release_tag="v1", limit=5)) == ["b"]
    assert ids(history.search("nobody wrote this")) == []
    assert ids(history.search("refund")) == ids(history.frame(search="refund"))


@given(
    stored=st.lists(st.tuples(TEXTS, TEXTS, st.one_of(st.none(), TEXTS)), min_size=1, max_size=5),
    typed=TEXTS,
    begun=st.integers(0, 3),
)
@settings(max_examples=40)
@pytest.mark.usefixtures("small_slices")
def test_index_and_comparison_find_the_same(history, make_run, stored, typed, begun):
    with History(":memory:") as memory:
        examples = [make_run(inputs={"q": [text]}, note=note) for text, _, note in stored]
        name = f"of {examples[0].id}"
        for number, run in enumerate(examples):
            for each in (history, memory):
                each.begin(run.model_copy(update={"deployment": name}))
                if number >= begun:
                    ended = {"state": "FULFILLED", "outputs": {"n": {"reply": stored[number][1]}}}
                    each.finish(run.model_copy(update=ended))
            if number % 2:
                history.count(search="catch up")
        found = [run.id for run in history.runs(search=typed, deployment=name)]
        assert found == [run.id for run in memory.runs(search=typed)]


@pytest.mark.usefixtures("small_slices")
def test_a_run_is_found_before_it_ends_when_it_ends_and_after(history, make_run):
    run = make_run(inputs={"q": "question common"})
    history.begin(run)
    assert history.count(search="question") == 1
    assert indexed(history) == []
    history.finish(run.model_copy(update={"state": "FULFILLED", "outputs": {"a": "answer"}}))
    assert history.count(search="answer question") == 1
    assert len(indexed(history)) == 1
    assert history.count(search="question") == 1


@pytest.mark.usefixtures("small_slices")
def test_notes_and_tags_are_found_as_they_are_now(history, record):
    record(id="a", inputs={"q": "refund"})
    record(id="b", inputs={"q": "other"}, tags=["Späße", "later"])
    assert history.count(search="refund urgent") == 0
    history.annotate("a", note="Urgent!")
    assert [run.id for run in history.runs(search="refund urgent")] == ["a"]
    assert [run.id for run in history.runs(search="spasse")] == ["b"]
    history.annotate("a", note=None)
    assert history.count(search="urgent") == 0


@pytest.mark.usefixtures("small_slices")
def test_errors_are_found_and_names_of_values_are_not(history, record):
    error = RunError(code="PROVIDER_ERROR", message="Too many requests")
    record(state="REJECTED", error=error, inputs={"ticket": {"kind": "x"}})
    assert history.count(search="provider requests") == 1
    assert history.count(search="ticket") == history.count(search="kind") == 0


@pytest.mark.parametrize("slice_", [1, 1000], ids=["indexed", "compared"])
def test_the_end_of_a_long_document_is_found(history, record, monkeypatch, slice_):
    monkeypatch.setattr(index, "SLICE", slice_)
    record(id="a", inputs={"document": f"{'word ' * 20_000}needle"})
    assert history._store.read("SELECT count(*) FROM large_values") == [(1,)]
    assert [run.id for run in history.runs(search="needle")] == ["a"]
    assert history.search('"word needle"')["match"][0].endswith("word needle")


@pytest.mark.usefixtures("small_slices")
def test_what_is_deleted_leaves_the_index_and_what_comes_back_is_found(history, make_run):
    fill(history, make_run, 3)
    assert history.count(search="common") == 3
    history.delete(["run-1"])
    assert history.count(search="common") == 2
    assert indexed(history) == [1, 3]
    history.undelete()
    assert history.count(search="common") == 3
    assert len(indexed(history)) == 3


@pytest.mark.usefixtures("small_slices")
def test_what_is_archived_leaves_the_index_and_is_found_where_archives_are_meant(
    history, make_run, tmp_path
):
    fill(history, make_run, 3)
    assert history.count(search="common") == 3
    history.archive(before="2026-07-02", path=tmp_path / "old.parquet")
    assert indexed(history) == []
    assert history.count(search="common") == 0
    assert len(history.search("common", archived=True)) == 3


@pytest.mark.usefixtures("small_slices")
def test_a_number_that_is_given_again_after_a_deletion_finds_the_new_run(history, record):
    record(id="old", inputs={"q": "old common"})
    assert history.count(search="old") == 1
    history.delete(["old"])
    record(id="new", inputs={"q": "new common"})
    assert history.count(search="old") == 0
    assert [run.id for run in history.runs(search="new")] == ["new"]
    assert len(indexed(history)) == 1


@pytest.mark.usefixtures("small_slices")
def test_no_word_of_a_very_long_document_is_lost(history, record):
    # More places than a tsvector counts, more of one word than it keeps, and a phrase at each edge.
    many = " ".join(f"w{number}" for number in range(20_000))
    record(id="a", inputs={"document": f"{'the ' * 3000}first {many} last"})
    for typed in ('"the first w0"', "w19999", '"w7998 w7999 w8000 w8001"', '"w15000 w15001" the'):
        assert history.count(search=typed) == 1, typed
    phrase = " ".join(f"w{number}" for number in range(7_940, 8_020))
    assert history.count(search=f'"{phrase}"') == 1
    assert history.count(search='"w1 w3"') == history.count(search='"the w0"') == 0


def test_a_few_new_runs_are_compared_and_many_are_indexed(history, make_run, monkeypatch):
    monkeypatch.setattr(index, "SLICE", 10)
    fill(history, make_run, 9)
    assert history.count(search="common") == 9
    assert index.stretch(history._store) is None
    fill(history, make_run, 12)
    assert history.count(search="common") == 21
    assert index.stretch(history._store) == (0, 21)
    fill(history, make_run, 9)
    assert history.count(search="common") == 30
    assert index.stretch(history._store) == (0, 21)
    assert len(indexed(history)) == 21


@pytest.mark.usefixtures("small_slices")
def test_the_index_may_be_dropped_at_any_time_and_an_old_one_is_made_anew(history, make_run, path):
    fill(history, make_run, 3)
    assert history.count(search="common") == 3
    with sqlite3.connect(path) as other:
        other.execute("DROP TABLE search_words")
    assert history.count(search="common") == 3
    with sqlite3.connect(path) as other:
        state = json.dumps({"version": 0, "upto": 3})
        other.execute("UPDATE settings SET value = ? WHERE name = 'search'", (state,))
        other.execute("INSERT INTO search_words (rowid, words) VALUES (1, 'rubbish')")
    assert history.count(search="rubbish") == 0
    assert len(indexed(history)) == 3


@pytest.mark.usefixtures("small_slices")
def test_where_the_index_cannot_be_made_runs_are_compared(history, make_run, path):
    fill(history, make_run, 3)
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE search_due (taken)")
        other.execute("CREATE VIEW search_words AS SELECT 1 AS rowid")
        assert history.count(search="common") == 3
    assert index.stretch(history._store) is None


@pytest.mark.usefixtures("small_slices")
def test_a_vacuum_leaves_no_word_of_deleted_runs_in_the_file(history, make_run, path):
    for number in range(3):
        fill(history, make_run, 1, inputs={"q": f"zebra{number} common"})
        assert history.count(search="zebra") == number + 1
    history.delete(["run-1"])
    history.vacuum()
    history.close()
    assert b"zebra1" not in path.read_bytes()
    with History(path) as again:
        assert again.count(search="zebra") == 2


def test_several_kernels_that_search_at_once_index_each_run_once(path, make_run, monkeypatch):
    monkeypatch.setattr(index, "SLICE", 5)
    with History(path) as history:
        fill(history, make_run, 60)
    found, kernels = [], [History(path) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda kernel=kernel: found.append(kernel.count(search="common")))
        for kernel in kernels
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [60] * 4
    assert indexed(kernels[0]) == list(range(1, 61))
    for kernel in kernels:
        kernel.close()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on Windows")
def test_a_kernel_that_is_killed_while_it_indexes_leaves_a_sound_index(path, make_run):
    with History(path) as history:
        fill(history, make_run, 150)
    code = (
        "import sys; from vellum_nb import History; from vellum_nb.history.searching import index\n"
        "index.SLICE = 1; print('on', flush=True); History(sys.argv[1]).count(search='common')"
    )
    for wait in (0.0, 0.02, 0.05):
        child = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
        child.stdout.readline()
        time.sleep(wait)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
    with History(path) as history:
        assert history.count(search="common") == 150
        assert index.stretch(history._store) == (0, 150)
        assert len(indexed(history)) == 150


def test_a_search_of_a_closed_history_is_refused(history):
    history.close()
    with pytest.raises(HistoryError, match="was closed"):
        history.search("refund")


def test_a_text_of_very_long_words_is_no_more_than_postgresql_takes(postgres):
    words = [f"{chr(1072 + number % 30) * 95}{number:05}" for number in range(9_000)]
    document = f" {' '.join(words)} "
    pieces = list(parts(document))
    assert len(pieces) > 2
    for piece in pieces:
        postgres.execute(f"SELECT CAST('{piece.replace(chr(39), chr(39) * 2)}' AS TSVECTOR)")
    assert all(any(f"'{word}':" in piece for piece in pieces) for word in words[::100])
