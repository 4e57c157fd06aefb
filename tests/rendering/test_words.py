"""Word differences: exact, quick, and readable."""

# ruff: noqa: E501  # sample texts

import re
from html import unescape
from itertools import pairwise

import pytest
from dom_kit import dom, text_of
from hypothesis import given
from hypothesis import strategies as st

from vellum_nb.rendering.diff import Op, side_html, word_diff

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
    html = side_html(word_diff(a, b), "both")
    tags = re.findall(r"<(?!/)[^>]*>", html)
    assert set(tags) <= {'<ins class="vnb-ins">', '<del class="vnb-del">'}
    without_old = re.sub(r"<del.*?</del> ?", "", html, flags=re.DOTALL)
    assert unescape(re.sub(r"<[^>]*>", "", without_old)).split() == b.split()


def test_long_equal_piece_is_folded():
    lines = [f"line {n} of the text\n" for n in range(200)]
    a, b = "".join(lines), "".join([*lines[:100], "changed\n", *lines[101:]])
    for side in ("new", "old", "both"):
        html = side_html(word_diff(a, b), side, fold=True)
        folded = dom(html).select("details.vnb-same:not([open])")
        assert [text_of(one).split()[:3] for one in folded] == [
            ["500", "unchanged", "words"], ["495", "unchanged", "words"],
        ]  # fmt: skip
        assert "line 3 of the text" in text_of(folded[0])
        assert not dom(side_html(word_diff(a, b), side)).select("details")


CARET = re.compile(r'<span class="vnb-caret" role="img"[^>]*>.</span>')


@given(TEXTS, TEXTS)
def test_each_side_shows_its_own_text(a, b):
    ops = word_diff(a, b)
    new, old = side_html(ops, "new"), side_html(ops, "old")
    new = CARET.sub("", new).removeprefix('<span class="vnb-flag">rewritten</span> ')
    for html, text, tag in ((new, b, "ins"), (old, a, "del")):
        assert set(re.findall(r"<[^>]*>", html)) <= {f'<{tag} class="vnb-{tag}">', f"</{tag}>"}
        assert unescape(re.sub(r"<[^>]*>", "", html)) == text


@pytest.mark.parametrize(
    ("a", "b", "carets"),
    [
        ("pay the bill today", "pay today", ["2 words removed"]),
        ("pay the bill today", "pay a fee today", []),  # replaced
        ("pay today", "pay the bill today", []),
        ("pay  today", "pay today", []),  # only a space
    ],
)
def test_caret_marks_removed_words(a, b, carets):
    assert re.findall(r'aria-label="([^"]*)"', side_html(word_diff(a, b), "new")) == carets


def test_long_unchanged_passage_is_folded():
    same = "word " * 21
    html = side_html(word_diff(f"{same}old", f"{same}new"), "new", fold=True)
    assert "<summary>21 unchanged words</summary>" in html
    shorter = same.removeprefix("word ")
    html = side_html(word_diff(f"{shorter}old", f"{shorter}new"), "new", fold=True)
    assert "<summary>" not in html


# Answers to one ticket, from which the threshold was chosen: marks help a reader to see what
# changed in the first ones, and cut the others into fragments.
ANSWER = (
    "Thanks for writing, and sorry for the trouble. The October invoice lists 14 seats and your plan "
    "has 12. We will send a corrected invoice before Friday, so that it reaches you in time for the "
    "audit. Nothing else on the invoice changes."
)
EDITED = {
    "one word": ANSWER.replace("Friday", "Monday"),
    "a phrase removed": ANSWER.replace(", and sorry for the trouble", ""),
    "the end replaced": (
        "Thanks for writing. The October invoice lists 14 seats and your plan has 12. We will send a "
        "corrected invoice within 5 working days."
    ),
    "three sentences added": ANSWER + " If you need an order number on it, reply to this mail." * 3,
    "sentences reordered": (
        "We will send a corrected invoice before Friday, so that it reaches you in time for the "
        "audit. The October invoice lists 14 seats and your plan has 12. Thanks for writing."
    ),
}
REWRITTEN = {
    "the same beginning": (
        "Thanks for writing. The October invoice lists 14 seats, but we count 12 people in your "
        "workspace. Please tell us by Friday which two members should leave."
    ),
    "the same greeting and end": (
        "Thanks for writing. Please see our help center at the address below for answers to billing "
        "questions; nothing else on the invoice changes."
    ),
    "a paraphrase": (
        "Thank you for your message, and we apologize. Your plan has 12 seats but the invoice of "
        "October shows 14. A corrected one will reach you before the audit on Friday."
    ),
    "another answer": (
        "An administrator can change the number of seats at any time under Settings, Plan, Seats. "
        "Changes apply from the next invoice on; invoices that were already sent stay."
    ),
    "another language": (
        "Merci de nous avoir écrit. La facture d'octobre compte 14 places, votre abonnement 12. Nous "
        "vous enverrons une facture corrigée."
    ),
}


@pytest.mark.parametrize("text", EDITED.values(), ids=EDITED)
def test_edited_text_is_marked(text):
    assert "vnb-flag" not in side_html(word_diff(ANSWER, text), "new")


@pytest.mark.parametrize("text", REWRITTEN.values(), ids=REWRITTEN)
def test_rewritten_text_is_plain_after_a_label(text):
    html = side_html(word_diff(ANSWER, text), "new", fold=True)
    assert unescape(html) == f'<span class="vnb-flag">rewritten</span> {text}'
    assert side_html(word_diff(ANSWER, text), "old") == ANSWER


def test_replaced_short_value_is_marked():
    assert side_html(word_diff("account", "billing"), "new") == '<ins class="vnb-ins">billing</ins>'
