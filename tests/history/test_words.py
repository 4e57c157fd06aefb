"""How texts become words, and what a search makes of what is typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vellum_nb.history.searching.letters import joined, letters, place, spans, words
from vellum_nb.history.searching.words import Search

PIECES = ["Größe", "plain", "e\u0301", "\u0301", "東京", "ﬁ", *"\u2003\x85\xa0 \t-ß"]


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
    assert words(text) == expected


@given(st.lists(st.sampled_from(PIECES)))
def test_a_text_is_read_as_a_whole_and_by_pieces_alike(pieces):
    text = "".join(pieces)
    read = [word for word, _, _ in spans(text)]
    assert words(text).split() == read


@pytest.mark.parametrize(
    ("typed", "text", "found"),
    [
        ("refund", "Two REFUNDS", True),
        ("fund", "Two refunds", False),
        ("refund policy", "the policy of refunds", True),
        ("refund policy", "the refunds", False),
        ('"refund policy"', "Refund -- policy!", True),
        ('"refund policy"', "policy refund", False),
        ('"refund"', "refunds", False),
        ('"refund pol', "refund policy", True),
        ("e-mail", "e mails", True),
        ("e-mail", "mail e", False),
        ("京都", "東京都", True),
        ("東都", "東京都", False),
        ("Ünal", "see unal", True),
        ("👍", "great👍", True),
        ("???", "what???", False),
        ("NEAR(a b)", "near a b", True),
        ("refund OR *", "refund or", True),
        ('a" OR "b', "a b", False),
    ],
)
def test_a_search_finds_words_by_their_beginning_and_quoted_phrases(typed, text, found):
    assert Search.of(typed).finds([text]) is found


def test_a_phrase_does_not_reach_from_one_value_into_the_next():
    assert not Search.of('"refund policy"').finds(["a refund", "policy"])
    assert Search.of("refund policy").finds(["a refund", "policy"])


@given(st.text(), st.text())
def test_a_text_is_found_by_any_of_its_words_and_by_itself(before, text):
    for word in words(text).split():
        assert Search.of(word).finds([before, text])
    if words(text) and '"' not in text:
        assert Search.of(f'"{text}"').finds([f"{before} {text}"])


@given(st.text(alphabet=st.characters(max_codepoint=0x24FF)))
def test_where_words_stand_agrees_with_the_words(text):
    assert " ".join(word for word, _, _ in spans(text)) == words(text)


@given(st.lists(st.sampled_from([*PIECES, " ", "Za9", "½©µ¶", "👍🏽", "x" * 120])).map("".join))
def test_where_words_begin_agrees_with_where_they_stand(text):
    found = letters(text)
    begins = [at for at in range(1, len(found)) if found[at - 1] == " " != found[at]]
    assert [place(text, at) for at in begins] == [begin for _, begin, _ in spans(text)]


def test_what_is_found_is_marked_where_it_stands():
    marked = Search.of('größe "two refunds"').marks("GROSSE of two refunds; two cafés, Größen")
    assert [("GROSSE of two refunds; two cafés, Größen")[b:e] for b, e in marked] == [
        "GROSSE",
        "two refunds",
        "Größen",
    ]


@given(st.text(min_size=300, alphabet="ab é,"), st.integers(0, 300))
def test_an_excerpt_shows_what_is_found_deep_in_a_text(filler, at):
    text = f"{filler[:at]} needle {filler[at:]}"
    assert "needle" in (Search.of("needle").excerpt(text) or "")


def test_documents_of_long_phrases_are_found():
    text = " ".join(f"w{number}" for number in range(200))
    assert Search.of(f'"{text}"').finds_in(joined([text]))
