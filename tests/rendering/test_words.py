"""Word differences: exact, quick, and readable."""

import re
from html import unescape
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vellum_nb.rendering.diff import Op, diff_html, word_diff

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
def test_pieces_alternate_without_losing_text(a, b):
    ops = word_diff(a, b)
    assert (old_of(ops), new_of(ops)) == (a, b)
    assert all(op.text for op in ops)
    assert all(one.kind != other.kind for one, other in pairwise(ops))
    assert all(op.kind == "equal" for op in word_diff(a, a))


CAT = "The cat sat on the mat while it rained."
REVENUE = "Quarterly revenue rose on the strength of exports."
MORE = "More words follow. " * 30
HEAD, TAIL = "x" * 300, "y" * 300


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("account", "billing", "[-account-]{+billing+}"),
        ("Please try later.", "Please try later, soon.", "Please try later{+, soon+}."),
        ("costs 12.50 now", "costs 12.75 now", "costs [-12.50-]{+12.75+} now"),
        ("don't go", "don't stay", "don't [-go-]{+stay+}"),
        ("今日は天気がいい", "今日は天気が悪い", "今日は天気が[-い-]{+悪+}い"),
        ("naïve cafe\u0301", "naïve cafe", "naïve [-cafe\u0301-]{+cafe+}"),
        ("one\ntwo\nthree\n", "one\n2\nthree\n", "one\n[-two-]{+2+}\nthree\n"),
        ("", "new", "{+new+}"),
        ("old", "", "[-old-]"),
        ("pay red green blue now", "pay one two three now",
         "pay [-red green blue-]{+one two three+} now"),  # neighbours are one replacement
        (CAT, REVENUE, f"[-{CAT}-]{{+{REVENUE}+}}"),  # little in common
        ("Thanks.", f"Thanks. {MORE}", f"Thanks.{{+ {MORE}+}}"),  # put at the end
        ("one two three", "one two\nthree", "one two[- -]{+\n+}three"),  # still the same word
        ("one two three ", "one two\nfour five ", "one two[- three-]{+\nfour five+} "),
        (f"{HEAD}A{TAIL}", f"{HEAD}B{TAIL}", f"{HEAD}[-A-]{{+B+}}{TAIL}"),  # one long word
        ("a\0b same words c", "a\0b same words d", "a\0b same words [-c-]{+d+}"),
    ],
)  # fmt: skip
def test_words_are_marked(a, b, expected):
    assert marked(a, b) == expected


def test_common_beginning_or_end_stays():
    a = "Thanks for writing. We look into your message about your outage. Bye"
    b = "Thanks for writing. Uploads fail since noon; a fix reaches all regions at night. Bye"
    assert marked(a, b).startswith("Thanks for writing. [-We")
    assert marked(a, b).endswith(". Bye")


@given(TEXTS, TEXTS)
def test_html_has_no_elements_of_the_texts(a, b):
    html = diff_html(word_diff(a, b))
    tags = re.findall(r"<(?!/)[^>]*>", html)
    assert set(tags) <= {
        '<ins class="vnb-ins">', '<del class="vnb-del">', '<b class="vnb-mark">', "<span>"
    }  # fmt: skip
    without_old = re.sub(r"<del.*?</del> ?", "", html, flags=re.DOTALL)
    bare = re.sub(r"<b[^>]*>.</b>|<[^>]*>", "", without_old)
    assert unescape(bare).split() == b.split()


def test_long_equal_piece_is_folded():
    lines = [f"line {n} of the text\n" for n in range(200)]
    a, b = "".join(lines), "".join([*lines[:100], "changed\n", *lines[101:]])
    html = diff_html(word_diff(a, b), fold=1_200)
    assert "line 98 of the text" in html
    assert "line 3 of the text" not in html
    assert "97 lines the same" in html
    assert "line 3 of the text" in diff_html(word_diff(a, b))
