"""Blind ratings: order, storage, results and sending."""

import json
import time
from typing import Any

import pytest
import report_kit
from actions_kit import SomeActions
from report_kit import failed, run

from vellum_nb.errors import APIConnectionError, HistoryError, InputError
from vellum_nb.history import History, blind
from vellum_nb.models import Run, case_id
from vellum_nb.models.blind import a_is_first


def made(at: int, tag: str, **fields: Any) -> Run:
    return run(tag, f"t{at}", f"t{at} by {tag}", id=f"{tag}-{at}", **fields)


def compared(history: History, number: int = 6, tags: tuple[str, ...] = ("v1", "v2"), *more: Run):
    runs = [made(at, tag) for at in range(number) for tag in tags]
    actions = SomeActions(history=history)
    return report_kit.compared(*runs, *more, tags=tags, actions=actions)


def test_order_is_determined_by_the_seed(history):
    session = compared(history, 40).blind(seed=1)
    seen = []
    while (pair := session.current) is not None:
        a, b = session.answers(pair)
        assert {a.release_tag, b.release_tag} == {"v1", "v2"}
        seen.append(a.release_tag)
        session.rate("tie")
    assert 8 < seen.count("v1") < 32
    again = [a_is_first(1, case_id({"text": f"t{at}"})) for at in range(40)]
    assert [tag == "v1" for tag in seen] == again


def test_rating_counts_for_the_release_behind_the_letter(history):
    session = compared(history).blind(seed=4)
    while (pair := session.current) is not None:
        a, _ = session.answers(pair)
        session.rate("A" if a.release_tag == "v2" else "B")
    found = session.finish()
    assert (found.first, found.second) == ("v1", "v2")
    assert (found.wins, found.losses, found.ties) == (6, 0, 0)
    assert found.rate.p == pytest.approx(0.03125)
    assert (session.results()["preferred"] == "v2").all()


HIDDEN = "Results are hidden while the blind rating of v1 and v2 is open."


@pytest.mark.parametrize(
    "results",
    [
        lambda cmp: cmp.summary(),
        lambda cmp: cmp.frame(),
        lambda cmp: cmp.frame("changed"),
        lambda cmp: cmp.turns(),
        lambda cmp: cmp.decide(),
        lambda cmp: cmp.result("v2"),
        lambda cmp: cmp.slices("input.text"),
        lambda cmp: cmp.chart("latency"),
        lambda cmp: cmp.to_html(),
        lambda cmp: cmp.to_markdown(),
        lambda cmp: cmp.to_csv("cases.csv"),
        lambda cmp: cmp.to_parquet("cases.parquet"),
    ],
)
def test_results_are_refused_while_a_rating_is_open(history, results):
    comparison = compared(history)
    comparison.blind().rate("A")
    with pytest.raises(InputError, match=HIDDEN):
        results(comparison)


def test_results_are_not_printed_while_a_rating_is_open(history):
    comparison = compared(history)
    comparison.blind().rate("skip")
    hidden = f"{HIDDEN} cmp.view() continues or ends it."
    assert repr(comparison) == f"<Comparison of words against v1, 6 cases: {hidden}>"
    assert str(comparison) == f"words: {hidden}"
    assert "v2 6 differ" not in comparison._repr_html_()


def test_results_are_shown_once_the_rating_has_ended(history):
    comparison = compared(history)
    comparison.blind(question="Which is kinder?").rate("B")
    comparison.open_rating.finish()
    assert comparison.open_rating is None
    assert repr(comparison) == "<Comparison of words against v1, 6 cases: v2 6 differs>"


def test_rating_of_other_runs_hides_no_results(history):
    compared(history).blind().rate("A")
    assert compared(history, 6, ("v1", "v3")).open_rating is None


def test_rating_that_was_started_over_hides_no_results(history):
    comparison = compared(history)
    comparison.blind().rate("A")
    comparison.blind(restart=True).finish()
    assert comparison.open_rating is None


def test_rating_hides_nothing_before_the_first_choice(history):
    comparison = compared(history)
    session = comparison.blind()
    session.rate("A")
    session.undo()
    assert comparison.open_rating is None


def test_rating_continues_in_another_process(history, tmp_path):
    session = compared(history).blind()
    session.rate("A", note="kinder")
    session.rate("skip", note="cannot tell")
    session.rate("B")
    with History(tmp_path / "runs.db") as other:
        later = compared(other).blind()
        assert later.record == session.record
        assert (later.rated, later.skipped, later.last) == (2, 1, "B")
        assert later.current.position == 3
        assert later.undo()
        assert later.current.position == 2
        later.rate("tie")
    session.refresh()
    assert session.last == "tie"


def test_undo_removes_only_ratings_of_this_kernel(history, tmp_path):
    session = compared(history).blind()
    session.rate("A")
    with History(tmp_path / "runs.db") as other:
        later = compared(other).blind()
        later.rate("B")
        assert session.undo()
        assert later.last == "B"
        assert later.undo()
        later.refresh()
        assert (later.rated, later.current.position) == (0, 0)


def test_undone_rating_stays_in_the_frame(history):
    session = compared(history).blind()
    session.rate("A", note="first thought")
    assert session.undo()
    assert session.note == "first thought"
    assert not session.undo()
    session.rate("B", note="second thought")
    frame = history.blind_ratings.frame("words")
    assert frame["note"].tolist() == ["second thought", "first thought"]
    assert frame["undone"].isna().tolist() == [True, False]
    assert history.blind_ratings.frame("other").empty


def test_skipped_cases_are_asked_again_or_left_out(history):
    session = compared(history, 3).blind()
    for said in ("skip", "A", "skip"):
        session.rate(said, note="why")
    assert session.state == "ready"
    session.ask_skipped()
    assert session.current.position == 0
    assert session.note == "why"
    session.rate("B")
    assert session.current.position == 2
    session.undo()
    assert session.current.position == 0
    session.rate("tie")
    session.rate("skip")
    assert session.state == "ready"
    assert session.finish().skipped == 1


def test_a_second_skip_replaces_the_first(history, tmp_path):
    session = compared(history, 2).blind()
    with History(tmp_path / "runs.db") as other:
        later = compared(other, 2).blind()
        assert session.rate("skip", note="ours")
        assert later.rate("skip", note="theirs")
    ratings = history.blind_ratings.ratings(session.record.id)
    assert [(rating.position, rating.note) for rating in ratings] == [(0, "theirs")]
    assert not session.undo()  # it was replaced


def test_a_skip_after_a_rating_does_not_count(history, tmp_path):
    session = compared(history, 2).blind()
    with History(tmp_path / "runs.db") as other:
        later = compared(other, 2).blind()
        session.rate("A")
        assert not later.rate("skip")
        assert (later.rated, later.skipped) == (1, 0)


def test_releases_are_hidden_until_the_end(history):
    comparison = compared(history, 2)
    session = comparison.blind(seed=123456789)
    session.rate("A")
    early = [comparison.blind().results(), history.blind_ratings.frame()]
    for frame in early:
        text = json.dumps(frame.astype(str).to_dict("records"))
        assert [each for each in ("v1", "v2", "123456789") if each in text] == []
    with pytest.raises(InputError, match="1 of 2 cases are not rated yet"):
        comparison.blind().summary()
    session.finish()
    late = history.blind_ratings.frame().iloc[0]
    assert {late["release_a"], late["release_b"]} == {"v1", "v2"}
    assert late["seed"] == 123456789
    assert late["run_a"].startswith(late["release_a"])
    assert comparison.blind().summary()["unrated"].item() == 1


def test_ended_rating_cannot_be_changed(history):
    session = compared(history, 2).blind()
    session.rate("A")
    session.finish()
    assert not session.undo()
    with pytest.raises(InputError, match="nothing left to rate"):
        session.rate("B")
    assert compared(history, 2).blind().state == "ended"
    assert compared(history, 2).blind(restart=True).state == "asking"


def test_equal_outputs_are_not_rated(history):
    runs = [run("v1"), run("v2"), run("v1", "b"), run("v1", "c"), failed("v2", "c")]
    comparison = compared(history, 0, ("v1", "v2"), *runs)
    session = comparison.blind()
    assert (session.state, session.total, session.same, session.missing) == ("empty", 0, 1, 2)
    assert session.finish().same == 1
    assert comparison.blind().results()["choice"].tolist() == ["same outputs"]


def test_later_repeats_do_not_change_a_rating(history):
    session = compared(history, 2).blind()
    later = [run("v2", f"t{at}", "new") for at in range(2)]
    after = compared(history, 2, ("v1", "v2"), *later).blind()
    assert after.record == session.record
    answers = {each.outputs["answer"] for each in after.answers(after.current)}
    assert answers == {"t0 by v1", "t0 by v2"}


def test_other_questions_pairs_or_cases_are_other_ratings(history):
    tags = ("v1", "v2", "v3")
    comparison = compared(history, 3, tags)
    first = comparison.blind(("v1", "v3"))
    assert comparison.blind(("v3", "v1")).record == first.record
    others = [
        comparison.blind(("v2", "v3")),
        comparison.blind(("v1", "v3"), question="Which is shorter?"),
        compared(history, 2, tags).blind(("v1", "v3")),
    ]
    assert len({first.record.id, *(each.record.id for each in others)}) == 4


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "this comparison has 3 releases: give pair="),
        ({"pair": "v1"}, "does not fit"),
        ({"pair": ("v1", "v1")}, "does not fit"),
        ({"pair": ("v1", "v9")}, "two others; available: v1, v2, v3"),
        ({"pair": 5}, "pair must be a list of texts, not 5"),
        ({"pair": ("v1", "v2"), "question": 5}, "question must be a text, not 5"),
        ({"pair": ("v1", "v2"), "seed": "7"}, "seed must be a whole number"),
        ({"pair": ("v1", "v2"), "seed": 2**63}, "seed must be a whole number"),
    ],
)
def test_invalid_pair_or_seed_is_refused(history, options, says):
    with pytest.raises(InputError, match=says):
        compared(history, 2, ("v1", "v2", "v3")).blind(**options)


def test_unknown_choice_is_refused(history):
    with pytest.raises(InputError, match="not a rating; available: A, B, tie, skip"):
        compared(history).blind().rate("C")
    with pytest.raises(HistoryError, match="no blind rating 'x'"):
        history.blind_ratings.get("x")


def test_failed_ratings_are_sent_again(history):
    session = compared(history, 3).blind(seed=2)
    for said in ("A", "B", "tie"):
        session.rate(said, note="n")
    session.finish()
    sent: list[tuple[str, float]] = []

    def rate(run, quality, about):
        if run.inputs["text"] == "t1" and not sent[4:]:
            raise InputError("not this one")
        assert about == {"source": "blind rating", "session": session.record.id, "seed": 2} | {
            "note": "n"
        }
        sent.append((run.id, quality))

    assert session.send(rate) == (2, ["not this one"])
    assert session.unsent == 1
    sent.extend([("", 0.0)])
    assert session.send(rate) == (1, [])
    assert session.send(rate) == (0, [])
    assert sorted(quality for _, quality in sent[:4]) == [0, 0.5, 0.5, 1]


def test_ratings_that_another_kernel_is_sending_are_not_sent(history):
    session = compared(history, 2).blind()
    session.rate("A")
    session.finish()
    with history.blind_ratings.sending(session.record.id):
        sent, problems = session.send(lambda *_: pytest.fail("sent twice"))
        assert (sent, session.unsent) == (0, 1)
        assert problems == [
            "this process is sending these ratings; check again when it has finished"
        ]
    assert session.send(lambda *_: None) == (1, [])


def test_the_lease_is_renewed_while_a_rating_is_sent(history, monkeypatch):
    monkeypatch.setattr(blind, "_RENEW_S", 0.01)  # private: the real one takes long
    session = compared(history, 2).blind()
    with history.blind_ratings.sending(session.record.id) as lease:
        first = lease.deadline
        while lease.deadline == first:
            time.sleep(0.01)


def test_without_a_history_ratings_live_as_long_as_the_comparison():
    comparison = report_kit.compared(made(1, "v1"), made(1, "v2"))
    assert not comparison.blind().is_kept
    comparison.blind().rate("A")
    assert comparison.view(blind=True).rated == 1


def test_the_order_of_outputs_does_not_show_which_release_is_a(history):
    outputs = {"v1": {"said": "x", "why": "y"}, "v2": {"only": 1, "why": "z", "said": "x"}}
    runs = [run(tag, f"t{at}", outputs=outputs[tag]) for at in range(9) for tag in outputs]
    session = compared(history, 0, ("v1", "v2"), *runs).blind(seed=1)
    firsts = {session.answers(pair)[0].release_tag for pair in session.pairs}
    assert firsts == {"v1", "v2"}
    assert len({tuple(session.names(pair)) for pair in session.pairs}) == 1  # "only" is of v2


@pytest.mark.parametrize(
    ("fault", "tries"), [(APIConnectionError("POST /: refused"), 3), (InputError("no output"), 7)]
)
def test_sending_stops_at_a_connection_error(history, fault, tries):
    session = compared(history).blind()
    while session.current is not None:
        session.rate("A")
    session.finish()
    tried: list[str] = []

    def rate(run: Run, quality: float, about: Any) -> None:
        tried.append(run.id)
        if len(tried) > 2:
            raise fault

    first = session.send(rate)
    assert first[0] == 1
    assert len(tried) == tries
    assert session.unsent == 5
    tried[:] = []
    assert compared(history).blind().send(lambda run, *_: tried.append(run.id)) == (5, [])
    assert len(tried) == 10
    assert session.send(rate) == (0, [])
    history.close()
    assert "closed" in session.send(rate)[1][0]


def test_rating_is_decided_as_soon_as_the_evidence_suffices(history):
    session = compared(history, 30).blind(seed=4)
    for number in range(1, 8):
        assert not session.is_decided
        a, _ = session.answers(session.current)
        session.rate("A" if a.release_tag == "v2" else "B")
        assert session.is_decided == (number == 7)
    found = session.finish()
    assert (found.test.side, found.test.cases, found.unrated) == (1, 7, 23)
    assert found.line.endswith("p = 0.04: 7 better · 0 worse · 0 ties, decided after 7")
    row = found.row()  # 429 / 16, the bets of Krichevsky and Trofimov
    assert row["p_at_any_time"] == pytest.approx(1 / 26.8125)
    assert (row["decided_after"], row["p"]) == (7, found.p) == (7, row["p_at_any_time"])
