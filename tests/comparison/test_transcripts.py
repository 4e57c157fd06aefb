"""Transcripts: the turns of a conversation on several releases, side by side."""

from dom_kit import dom, text_of, texts
from report_kit import compared, talk

from vellum_nb.comparison.transcripts import Transcript, transcript_html
from vellum_nb.models import RunError
from vellum_nb.models.sweeps import NOT_SENT, SweepCase
from vellum_nb.rendering.html import icon

UNSENT = RunError(code=NOT_SENT, message="turn 2 was REJECTED, so this turn was not sent")


def transcript(*runs, expected=(), repeats=None, **options):
    said = {each.turn: each.inputs for each in runs}
    cases = [
        SweepCase(at, "talk", said[turn], dict(expected).get(turn, {}), turn=turn)
        for at, turn in enumerate(sorted(said))
    ]
    comparison = compared(*runs, cases=cases, **options)
    releases = (comparison.baseline, *comparison.figures.others)
    return Transcript.of(comparison.cases[0], releases, repeats or {})


def html(made, **options):
    return dom(transcript_html(made, icon, **options))


def test_each_turn_has_the_message_and_one_answer_per_release():
    made = transcript(*talk("v1", "a", "b", "c"), *talk("v2", "a", "b", "d"))
    assert [(turn.number, turn.message) for turn in made.turns] == [
        (1, "hi"),
        (2, "why?"),
        (3, "bye"),
    ]
    answers = [[a.run.outputs["answer"] for a in turn.answers] for turn in made.turns]
    assert answers == [["a", "a"], ["b", "b"], ["c", "d"]]
    assert [[a.is_same for a in turn.answers] for turn in made.turns][1:] == [
        [False, True],
        [False, False],
    ]


def test_first_difference_is_marked_before_its_turn():
    made = transcript(*talk("v1", "a", "b", "c"), *talk("v2", "a", "x", "d"))
    assert made.first_changed == {"v2": 2}
    page = html(made)
    assert texts(str(page), ".vnb-talk-first") == ["first difference: turn 2"]
    mark = page.select_one(".vnb-talk-first")
    assert mark.find_next("section")["aria-label"] == "Turn 2"


def test_first_difference_names_the_release_among_several():
    tags = ("v1", "v2", "v3")
    runs = [*talk("v1", "a", "b", "c"), *talk("v2", "a", "b", "d"), *talk("v3", "a", "x", "c")]
    made = transcript(*runs, tags=tags)
    assert texts(str(html(made)), ".vnb-talk-first") == [
        "first difference of v3: turn 2",
        "first difference of v2: turn 3",
    ]


def test_changed_words_are_marked_on_both_sides():
    made = transcript(*talk("v1", "one two three four"), *talk("v2", "one two seven four"))
    page = str(html(made))
    assert texts(page, "del") == ["three"]
    assert texts(page, "ins") == ["seven"]
    assert texts(str(html(made, inline=True)), ".vnb-talk-side del") == ["three"]


def test_equal_answers_are_shown_once():
    page = html(transcript(*talk("v1", "a", "b"), *talk("v2", "a", "b")))
    sides = [text_of(side) for side in page.select(".vnb-talk-side")]
    assert sides == ["v1 a", "v2 same answer", "v1 b", "v2 same answer"]


def test_missed_expectations_are_marked_at_their_turn():
    expected = {1: {"answer": "a"}, 2: {"answer": "b"}}
    made = transcript(*talk("v1", "a", "b"), *talk("v2", "x", "b"), expected=expected)
    checks = [texts(str(turn), ".vnb-check") for turn in html(made).select("section")]
    assert checks == [["as expected", "expected a"], ["as expected", "as expected"]]


def test_turn_that_failed_and_turns_that_were_not_sent_say_so():
    rejected = {"state": "REJECTED", "outputs": {}, "error": RunError(code="E", message="no <b>")}
    unsent = {"state": "FAILED", "outputs": {}, "error": UNSENT}
    made = transcript(*talk("v1", "a", "b", "c"), *talk("v2", "a", rejected, unsent))
    sides = texts(str(html(made)), ".vnb-talk-side:last-child")
    error = "v2 The workflow ended with an error. E no <b>"
    assert sides == ["v2 same answer", error, f"v2 {UNSENT.message}"]


def test_conversation_that_stopped_between_turns_is_shown():
    made = transcript(*talk("v1", "a", "b", "c"), *talk("v2", "a", "x"))
    assert made.first_changed == {"v2": 2}
    assert texts(str(html(made)), ".vnb-talk-side:last-child")[-1] == "v2 not run"


def test_turns_that_no_release_reached_are_counted():
    cases = [SweepCase(at, "talk", {"text": "hi"}, turn=at + 1) for at in range(4)]
    comparison = compared(*talk("v1", "a"), *talk("v2", "a"), cases=cases)
    made = Transcript.of(comparison.cases[0], ("v1", "v2"), {})
    assert texts(str(html(made)), ".vnb-talk-more") == [
        "3 more turns of this conversation were not run."
    ]


def test_message_is_shown_without_the_history_it_continues():
    first = [{"role": "USER", "text": "hi"}]
    second = [*first, {"role": "ASSISTANT", "text": "secret"}, {"role": "USER", "text": "why?"}]
    runs = [
        each
        for tag in ("v1", "v2")
        for each in talk(tag, {"inputs": {"chat": first}}, {"inputs": {"chat": second}})
    ]
    assert [turn.message for turn in transcript(*runs).turns] == ["hi", "why?"]


def test_other_inputs_are_shown_if_they_change():
    chat = [{"role": "USER", "text": "hi"}]
    moods = [{"inputs": {"chat": chat, "mood": mood}} for mood in ("sad", "sad", "calm")]
    made = transcript(*talk("v1", *moods), *talk("v2", *moods))
    assert [turn.message for turn in made.turns] == ["hi\nmood: sad", "hi", "hi\nmood: calm"]


def test_messages_that_differ_are_shown_per_release():
    made = transcript(*talk("v1", "a", "b"), *talk("v2", "a", "c", said=("hi", "what?")))
    second = html(made).select("section")[1]
    assert made.turns[1].message is None
    assert texts(str(second), ".vnb-talk-side > .vnb-talk-said") == ["User: why?", "User: what?"]


def test_long_conversation_is_cut_unless_complete():
    answers, said = ["x" * 1_000] * 400, [f"m{n}" for n in range(400)]
    made = transcript(*talk("v1", *answers, said=said), *talk("v2", *answers, said=said))
    page = html(made)
    assert len(page.select("section")) == 150
    assert texts(str(page), ".vnb-talk-more") == ["250 more turns; cmp.turns() has all of them."]
    assert len(html(made, complete=True).select("section")) == 400
