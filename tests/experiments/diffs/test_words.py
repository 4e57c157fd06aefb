"""Word differences: exact, quick, and readable."""

from __future__ import annotations

import random
import time
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vellum_nb.experiments.diffs.words import Op, word_diff
from vellum_nb.experiments.diffs.matching import matches

WORDS = st.lists(
    st.sampled_from(["a", "b", "the", " ", "\n", ".", "é", "天", "\u0301", "12.5", "'"])
)
TEXTS = st.text() | WORDS.map("".join)


def old_of(ops: list[Op]) -> str:
    return "".join(op.text for op in ops if op.kind != "insert")


def new_of(ops: list[Op]) -> str:
    return "".join(op.text for op in ops if op.kind != "delete")


def marked(a: str, b: str) -> str:
    marks = {"equal": ("", ""), "delete": ("[-", "-]"), "insert": ("{+", "+}")}
    return "".join(marks[op.kind][0] + op.text + marks[op.kind][1] for op in word_diff(a, b))


@given(TEXTS, TEXTS)
def test_the_pieces_give_both_texts_back(a: str, b: str) -> None:
    ops = word_diff(a, b)
    assert (old_of(ops), new_of(ops)) == (a, b)


@given(TEXTS, TEXTS)
def test_no_piece_is_empty_and_no_two_neighbours_are_of_one_kind(a: str, b: str) -> None:
    ops = word_diff(a, b)
    assert all(op.text for op in ops)
    assert all(one.kind != other.kind for one, other in pairwise(ops))


@given(TEXTS)
def test_a_text_does_not_differ_from_itself(text: str) -> None:
    assert all(op.kind == "equal" for op in word_diff(text, text))


@given(
    st.lists(st.sampled_from("abcd"), max_size=400), st.lists(st.sampled_from("abcd"), max_size=400)
)
def test_matches_are_common_and_in_order(a: list[str], b: list[str]) -> None:
    end_a = end_b = 0
    for start_a, start_b, size in matches(a, b):
        assert a[start_a : start_a + size] == b[start_b : start_b + size]
        assert start_a >= end_a
        assert start_b >= end_b
        end_a, end_b = start_a + size, start_b + size


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("account", "billing", "[-account-]{+billing+}"),
        ("Please try later.", "Please try later, soon.", "Please try later{+, soon+}."),
        ('["card"]', '["card", "risk"]', '["card"{+, "risk"+}]'),
        ("costs 12.50 now", "costs 12.75 now", "costs [-12.50-]{+12.75+} now"),
        ("don't go", "don't stay", "don't [-go-]{+stay+}"),
        ("今日は天気がいい", "今日は天気が悪い", "今日は天気が[-い-]{+悪+}い"),
        ("naïve cafe\u0301", "naïve cafe", "naïve [-cafe\u0301-]{+cafe+}"),
        ("one\ntwo\nthree\n", "one\n2\nthree\n", "one\n[-two-]{+2+}\nthree\n"),
        ("", "new", "{+new+}"),
        ("old", "", "[-old-]"),
    ],
)
def test_words_are_marked(a: str, b: str, expected: str) -> None:
    assert marked(a, b) == expected


def test_neighbouring_replaced_words_are_one_replacement() -> None:
    assert marked("pay red green blue now", "pay one two three now") == (
        "pay [-red green blue-]{+one two three+} now"
    )


def test_texts_with_little_in_common_are_replaced_whole() -> None:
    a = "The cat sat on the mat while it rained."
    b = "Quarterly revenue rose on the strength of exports."
    assert marked(a, b) == f"[-{a}-]{{+{b}+}}"


def test_the_words_with_which_unlike_texts_begin_and_end_stay() -> None:
    a = "Thanks for writing. We look into your message about your outage. Bye"
    b = "Thanks for writing. Uploads fail since noon; a fix reaches all regions at night. Bye"
    assert marked(a, b).startswith("Thanks for writing. [-We")
    assert marked(a, b).endswith(". Bye")


def test_text_put_at_the_end_is_an_insertion() -> None:
    assert marked("Thanks.", "Thanks. " + "More words follow. " * 30) == (
        "Thanks.{+ " + "More words follow. " * 30 + "+}"
    )


@pytest.mark.parametrize("vocabulary", [30, 5_000])
@pytest.mark.parametrize("other", ["edited", "unlike"])
def test_one_long_line_takes_no_long_time(vocabulary: int, other: str) -> None:
    draw = random.Random(1)  # noqa: S311
    old = [f"w{draw.randrange(vocabulary)}" for _ in range(40_000)]
    new = list(old)
    for _ in range(300):
        new[draw.randrange(len(new))] = "changed"
    if other == "unlike":
        new = [f"w{draw.randrange(vocabulary)}" for _ in range(40_000)]
    a, b = " ".join(old), " ".join(new)
    start = time.process_time()
    ops = word_diff(a, b)
    # 0.15 s on a quiet machine; difflib alone takes minutes.
    assert time.process_time() - start < 3
    assert (old_of(ops), new_of(ops)) == (a, b)


def test_html_escapes_and_says_plus_and_minus_in_the_text() -> None:
    html = diff_html(word_diff("a <b>", "a <i>"))
    texts: list[str] = []
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_data = texts.append  # type: ignore[method-assign]
    parser.handle_starttag = lambda tag, _: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(html)
    assert set(tags) == {"b", "del", "ins", "span"}
    assert "".join(texts) == "a <\N{MINUS SIGN}b +i>"
