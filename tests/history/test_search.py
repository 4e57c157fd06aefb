"""Searching: how texts become words, and that the index finds what words find."""

import json
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vellum_nb import History
from vellum_nb.history import index_for_search
from vellum_nb.history import search as search_module
from vellum_nb.models import RunError
from vellum_nb.search_text import Search, document

PIECES = [
    *["refund", "Refunds", "POLICY", "pol", "größe", "GROSSE", "re\u00adfund", "e\u0301", "n"],
    *["x½", "東京", "京都", "ไทย", "👍", "ﬁne", "Ж", "ő", "\ud83d", "data:image/png;base64,cmV"],
    *["refund" * 20, "12.5", "a-b", "¶", " ", " ", " ", '"', "\n", "\t", "\\", ",", "“", "\x00"],
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
VALUES = st.recursive(
    st.one_of(TEXTS, st.none(), st.booleans(), st.integers(), st.floats(-9, 9)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=5,
)
RUNS = st.fixed_dictionaries(
    {
        "inputs": st.dictionaries(TEXTS, VALUES, max_size=3),
        "outputs": st.dictionaries(TEXTS, VALUES, max_size=3),
        "note": st.one_of(st.none(), TEXTS),
        "tags": st.lists(TEXTS, max_size=2),
        "error": st.one_of(st.none(), st.builds(RunError, code=TEXTS, message=TEXTS)),
        "state": st.sampled_from(["FULFILLED", "REJECTED", "STARTED"]),
    }
)


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(search_module, "_BATCH", 2)  # private: 500 runs take long


def ids(found):
    return found["id"].tolist()


def fill(history, make_run, count, **fields):
    for _ in range(count):
        run = make_run(state="FULFILLED", outputs={"reply": "common words"}, **fields)
        history.begin(run.model_copy(update={"state": "STARTED", "outputs": {}}))
        history.finish(run)


def newly_indexed(history):
    """Return how many runs the index takes in."""
    done = [0]
    index_for_search(history, lambda so_far, _: done.append(so_far))
    return done[-1]


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (" -- !?", ""),
        ("Two refunds, 12.5 %", "two refunds 12 5"),
        ("snake_case e-mail a@b.example", "snake case e mail a b example"),
        ("Größe STRASSE Straße", "grosse strasse strasse"),
        ("cafe\u0301 café CAFÉ", "cafe cafe cafe"),
        ("İstanbul", "istanbul"),
        ("ﬁsh Ⅻ x²", "fish xii x2"),
        ("re\u00adfund zero\u200bwidth", "refund zerowidth"),
        ("東京タワー", "東 京 タ ワ ー"),
        ("ｶﾞ が", "ガ が"),
        ("ภาษาไทย", "ภ า ษ า ไ ท ย"),
        ("한국어 검색", "한국어 검색"),
        ("हिन्दी में", "हिन्दी में"),
        ("مُحَمَّد", "محمد"),
        ("ok👍🏽fine", "ok 👍 fine"),
        ("half \ud83d emoji\x00nul", "half emoji nul"),
        ("data:image/png;base64,iVBORw0KGgo=", "data image png base64"),
        ("x" * 500, "x" * 100),
    ],
)
def test_a_text_becomes_words(text, expected):
    assert document(json.dumps({"q": text}), "{}").split() == expected.split()


@pytest.mark.parametrize(
    ("typed", "text", "found"),
    [
        ('"refund policy"', "Refund -- policy!", True),
        ('"refund policy"', "policy refund", False),
        ('"refund pol', "refund policy", True),
        ("e-mail", "e mails", True),
        ("e-mail", "mail e", False),
        ("京都", "東京都", True),
        ("東都", "東京都", False),
        ("Ünal", "see unal", True),
        ("👍", "great👍", True),
        ("NEAR(a b)", "near a b", True),
        ("refund OR *", "refund or", True),
        ('a" OR "b', "a b", False),
    ],
)
def test_a_search_finds_words_by_their_beginning_and_quoted_phrases(typed, text, found):
    assert Search.of(typed).matches([text]) is found


@given(st.text(), st.text())
def test_a_text_is_found_and_marked_by_any_of_its_words_and_by_itself(before, text):
    for word in document(json.dumps({"q": text}), None).split():
        assert Search.of(word).matches([before, text])
        assert Search.of(word).spans(text)
    if '"' not in text and Search.of(text).terms:
        assert Search.of(f'"{text}"').matches([f"{before} {text}"])


@given(st.text(min_size=300, alphabet="ab é,"), st.integers(0, 300))
def test_matches_are_marked_where_they_stand_and_an_excerpt_shows_one_deep_in_a_text(filler, at):
    text = f"{filler[:at]} needle {filler[at:]}"
    assert "needle" in (Search.of("needle").excerpt(text) or "")
    text = "GROSSE of two refunds; two cafés, Größen ﬁne 東京都"
    spans = Search.of('größe "two refunds" fine 京都').spans(text)
    assert [text[b:e] for b, e in spans] == ["GROSSE", "two refunds", "Größen", "ﬁne", "京都"]


# ---------------------------------------------------------------- searches


def test_a_search_returns_the_frame_with_what_matches_where(history, record):
    record(id="a", inputs={"q": "Where is my refund?"}, outputs={"reply": "On its way."})
    record(id="b", inputs={"q": "Hello"}, outputs={"reply": "No refunds, says our policy"})
    record(id="c", inputs={"q": "refund"}, release_tag="v2", note="see the policy")
    found = history.search("refund")
    assert ids(found) == ["c", "b", "a"]
    assert found.columns[-1] == "match"
    matches = ["output.reply: No refunds, says our policy", "input.q: Where is my refund?"]
    assert found["match"].tolist()[1:] == matches
    assert ids(history.search("refund policy", release_tag="v1", limit=5)) == ["b"]
    assert ids(history.search("refund")) == ids(history.frame(search="refund"))


@given(runs=st.lists(RUNS, min_size=1, max_size=4), typed=TEXTS)
@example(runs=[{"inputs": {"a refund policy": 1}, "note": "a refund"}], typed='"refund policy"')
@example(runs=[{"note": "my refund", "tags": ["policy"]}], typed='"refund policy"')
@example(runs=[{"inputs": {'a refund"b': 1}}], typed="refund")
@example(runs=[{"inputs": {"q": "한"}}], typed="i")
@example(runs=[{"outputs": {"p": 0.00001}}, {"outputs": {"p": [-1.5e-7]}}], typed="1e-05")
def test_the_index_finds_what_words_find(history, make_run, runs, typed):
    examples = [make_run(**fields) for fields in runs]
    name = f"of {examples[0].id}"
    for run in examples:
        run = run.model_copy(update={"deployment": name})  # noqa: PLW2901
        history.begin(run.model_copy(update={"state": "STARTED"}))
        if run.state != "STARTED":
            history.finish(run)
        history.annotate(run.id, note=run.note, tags=run.tags)
    expected = []
    for run in history.runs(deployment=name):
        error = () if run.error is None else (run.error.code, run.error.message)
        outputs = run.outputs
        words = document(json.dumps(run.inputs), json.dumps(outputs), *error, run.note, *run.tags)
        if Search.of(typed).matches_document(words):
            expected.append(run.id)
    assert [run.id for run in history.runs(search=typed, deployment=name)] == (
        expected if typed.strip() else [run.id for run in history.runs(deployment=name)]
    )


def test_no_word_of_a_very_long_document_is_lost(history, record):
    # More places than a tsvector counts, more of one word than it stores, a phrase at each edge.
    many = " ".join(f"w{number}" for number in range(20_000))
    wide = " ".join(f"{chr(1072 + number % 30) * 95}{number:05}" for number in range(3_000))
    record(id="a", inputs={"document": f"{'the ' * 3000}first {many} last {wide}"})
    for typed in ('"the first w0"', "w19999", '"w7998 w7999 w8000 w8001"', '"w15000 w15001" the'):
        assert history.count(search=typed) == 1, typed
    phrase = " ".join(f"w{number}" for number in range(7_940, 8_020))
    assert history.count(search=f'"{phrase}"') == 1
    assert history.count(search='"w1 w3"') == history.count(search='"the w0"') == 0
    assert history.count(search=f"{chr(1072 + 2_990 % 30) * 95}02990 w1") == 1


# ---------------------------------------------------------------- the index


@pytest.mark.usefixtures("small_batches")
def test_the_index_is_made_in_batches_and_takes_in_new_runs_only(history, make_run):
    fill(history, make_run, 5)
    seen = []
    index_for_search(history, lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]
    assert history.count(search="common") == 5
    fill(history, make_run, 1)
    assert newly_indexed(history) == 1


OTHER_VERSION = """
DROP TABLE search_rows;
DROP TABLE search_words;
CREATE VIRTUAL TABLE search_words USING fts5(words, content='', columnsize=0, tokenize='ascii');
CREATE TABLE search_rows (number INTEGER PRIMARY KEY, seq INTEGER UNIQUE);
UPDATE settings SET value = '1/1.0.0 3' WHERE name = 'search';
"""


@pytest.mark.parametrize(
    "damage",
    ["DROP TABLE search_words; DROP TABLE search_rows", OTHER_VERSION],
    ids=["dropped", "of another Unicode version"],
)
def test_an_index_that_is_missing_or_of_another_version_is_rebuilt(history, make_run, path, damage):
    fill(history, make_run, 3)
    assert history.count(search="common") == 3
    with sqlite3.connect(path) as other:
        other.executescript(damage)
    assert newly_indexed(history) == 3
    assert history.count(search="common") == 3


def test_runs_are_compared_with_a_warning_where_the_index_cannot_be_made(history, make_run, path):
    fill(history, make_run, 3)
    with sqlite3.connect(path) as other:
        other.execute("CREATE VIEW search_words AS SELECT 1 AS rowid")
    with pytest.warns(UserWarning, match="search index cannot be written"):
        assert history.count(search="common") == 3


@pytest.mark.usefixtures("small_batches")
def test_several_kernels_that_search_at_once_index_each_run_once(place, make_run):
    with History(place) as history:
        fill(history, make_run, 40)
    kernels = [History(place) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(lambda kernel: kernel.count(search="common"), kernels)] == [40] * 4
    assert newly_indexed(kernels[0]) == 0
    for kernel in kernels:
        kernel.close()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on Windows")
def test_a_kernel_that_is_killed_while_it_indexes_leaves_a_sound_index(path, make_run, forks):
    with History(path) as history:
        fill(history, make_run, 150)
    code = (
        "import sys; from vellum_nb import History; from vellum_nb.history import search\n"
        "search._BATCH = 1; print('on', flush=True); History(sys.argv[1]).count(search='common')"
    )
    for wait in (0.0, 0.02, 0.05):
        with forks.code(code, path) as child:
            child.stdout.readline()
            time.sleep(wait)
    with History(path) as history:
        assert history.count(search="common") == 150
        assert newly_indexed(history) == 0


OPERATIONS = st.lists(
    st.sampled_from(["begin", "begin", "end", "end", "search", "note", "delete", "undelete"]),
    max_size=20,
)


def perform(history, operation, make_run):
    here = history.runs()
    started = [run for run in here if run.state == "STARTED"]
    if operation == "begin":
        history.begin(make_run(inputs={"q": "common"}))
    elif operation == "end" and started:
        history.finish(started[0].model_copy(update={"state": "FULFILLED"}))
    elif operation == "search":
        history.count(search="common")
    elif operation == "note" and here:
        history.annotate(here[0].id, note="noted")
    elif operation == "delete" and here:
        history.delete([here[-1].id])
    elif operation == "undelete" and len(history.deletions()):
        history.undelete()


@given(operations=OPERATIONS)
@settings(max_examples=30)
def test_a_search_is_complete_after_any_operations(history, make_run, operations):
    if here := [run.id for run in history.runs()]:
        history.delete(here)
        history.vacuum()
    for operation in operations:
        perform(history, operation, make_run)
    runs = history.runs()
    assert history.count(search="common") == len(runs)
    assert history.count(search="noted") == len([run for run in runs if run.note])


def test_notes_tags_errors_and_answers_are_found_as_they_are_now(history, record, make_run, path):
    record(id="a", inputs={"q": "zebra1 refund"})
    error = RunError(code="PROVIDER_ERROR", message="Too many requests")
    record(id="b", inputs={"q": "other"}, tags=["Späße"], state="REJECTED", error=error)
    begun = make_run(id="c", inputs={"q": 'say "hi" \\ straße'})
    history.begin(begun)
    assert history.count(search="refund urgent") == 0
    history.annotate("a", note="Urgent!")
    history.finish(begun.model_copy(update={"state": "FULFILLED", "outputs": {"a": "answer"}}))
    answer = ('answer say "hi" strasse', "c")
    for text, found in (("urgent", "a"), ("spasse provider", "b"), answer):
        assert [run.id for run in history.runs(search=text)] == [found]
    history.annotate("a", note=None)
    assert history.count(search="urgent") == 0
    history.delete(["a"])
    assert history.count(search="zebra1") == 0
    history.vacuum()
    history.close()
    assert b"zebra1" not in path.read_bytes()
