"""Comparing very many runs: what the sieve says of a run is what its words say."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from vellum_nb import History
from vellum_nb.history.searching import search, sieving
from vellum_nb.models import RunError

PIECES = [
    *["refund", "Refunds", "POLICY", "pol", "größe", "GROSSE", "re\u00adfund", "e\u0301", "n"],
    *["x½", "東京", "👍", "ﬁne", "Ж", "ő", "\ud83d", "data:image/png;base64,", "refund" * 20],
    *["12.5", "¶", " ", " ", " ", '"', "\n", "\t", "\\", ",", ":", "“", "”", "\x1e", "\x85"],
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
    }
)


@given(runs=st.lists(RUNS, min_size=1, max_size=4), typed=TEXTS)
@example(runs=[{"inputs": {"a refund policy": 1}, "note": "a refund"}], typed='"refund policy"')
@example(runs=[{"note": "my refund", "tags": ["policy"]}], typed='"refund policy"')
@example(runs=[{"inputs": {'a refund"b': 1}}], typed="refund")
@example(runs=[{"inputs": {"a": "the\npolicy of\tRefunds"}}], typed='"the policy" refund')
@example(runs=[{"inputs": {"q": "한"}}], typed="i")
@example(runs=[{"outputs": {"p": 0.00001}}, {"outputs": {"p": [-1.5e-7]}}], typed="1e-05")
def test_the_sieve_finds_what_words_find(make_run, monkeypatch, runs, typed):
    with History(":memory:") as history:
        for fields in runs:
            history.begin(make_run(**fields))
        monkeypatch.setattr(search, "_MANY", 1_000)
        by_words = [run.id for run in history.runs(search=typed)]
        monkeypatch.setattr(search, "_MANY", 0)
        assert [run.id for run in history.runs(search=typed)] == by_words


def test_large_values_are_compared_whole(history, record, monkeypatch):
    record(id="a", inputs={"document": f"{'word ' * 20_000}needle"})
    record(id="b", inputs={"document": "word"})
    monkeypatch.setattr(search, "_MANY", 0)
    assert [run.id for run in history.runs(search="needle")] == ["a"]


def test_long_texts_are_looked_through_a_few_at_a_time(history, record, monkeypatch):
    for number in range(30):
        record(inputs={"q": f"{'long ' * number * 10} w{number % 7}"})
    monkeypatch.setattr(search, "_MANY", 0)
    monkeypatch.setattr(sieving, "_CHARACTERS", 2_000)
    for number in range(7):
        assert history.count(search=f"w{number}") == len(range(number, 30, 7))


def test_what_takes_long_is_told(history, record, monkeypatch, capsys):
    for _ in range(3):
        record(inputs={"q": "refund"})
    monkeypatch.setattr(search, "_MANY", 0)
    monkeypatch.setattr(search, "_MOMENT_S", 0)
    assert history.count(search="refund") == 3
    assert capsys.readouterr().err.endswith("Comparing 3 runs that are not indexed yet: 100%\n")
