"""Which release changed an answer first, on a real local server with many releases."""

import itertools
import math
from typing import Literal

import pytest
from runs_kit import html_of

import vellum_nb as vnb
from vellum_nb.local.faults import Faults


def answers(word, *, extra=False):
    """Return a workflow that answers `word`; with `extra` it takes one input more."""

    def plain(text: str) -> dict[str, object]:
        return {"word": word, "length": len(text)}

    def more(text: str, shout: Literal["no", "yes"] = "no") -> dict[str, object]:
        return {"word": word.upper() if shout == "yes" else word, "length": len(text)}

    return more if extra else plain


def deployed(server, words, *, tags=None, name="words"):
    for number, word in enumerate(words, 1):
        tag = f"v{number}" if tags is None else tags[number - 1]
        server.deploy(answers(word), name=name, release_tags=[tag] if tag else [])


CASE = {"text": "hello"}


@pytest.mark.parametrize("change", [2, 5, 8])
def test_the_first_changed_release_is_found_wherever_it_is(server, ws, change):
    deployed(server, ["old" if number < change else "new" for number in range(1, 9)])
    bisection = ws.bisect("words", CASE)
    assert (bisection.last_same, bisection.first_changed) == (f"v{change - 1}", f"v{change}")
    tried = {run.release_tag for run in bisection.runs}
    assert len(tried) <= 2 + math.ceil(math.log2(7))
    assert len(bisection.runs) == len(tried) + 2  # both sides of the change once more
    frame = bisection.frame()
    assert frame["release_tag"].tolist() == sorted(frame["release_tag"])
    assert frame["changed"].tolist() == [int(tag[1:]) >= change for tag in frame["release_tag"]]
    assert not frame["reused"].any()


def test_runs_of_the_history_are_taken_and_nothing_is_run_twice(server, ws):
    deployed(server, ["old", "old", "old", "new", "new"])
    first = ws.bisect("words", CASE)
    count = ws.history.count()
    again = ws.bisect("words", CASE)
    assert ws.history.count() == count == len(first.runs)
    assert again.reused == len(again.runs) == count
    assert again.frame()["reused"].all()
    assert repr(again) == (
        "<Bisection of words: v4 is the first that changed, v3 the last that did not; "
        f"0 runs and {count} of the history, 5 releases>"
    )
    assert "0 runs and" in html_of(again)
    other = ws.bisect("words", {"text": "bye"})
    assert other.reused == 0


def test_a_run_a_case_id_and_a_case_of_a_comparison_are_cases(server, ws):
    deployed(server, ["old", "new"])
    run = ws.run("words", CASE, release_tag="v1")
    ws.run("words", CASE, release_tag="v2")
    case = ws.compare("words").cases[0]
    for given in (run, run.case_id, case):
        assert ws.bisect("words", given).first_changed == "v2"
    with pytest.raises(vnb.InputError, match="the history has no run of words with the case_id"):
        ws.bisect("words", "0123456789abcdef")
    with pytest.raises(vnb.InputError, match="the number 7 is not a case: give a dict of inputs"):
        ws.bisect("words", 7)
    with pytest.raises(vnb.InputError, match="No release of words has an input 'txt'; avail"):
        ws.bisect("words", {"txt": "a"})


def test_no_change_and_a_check_that_raises_are_reported_in_plain_words(server, ws):
    deployed(server, ["same", "same", "same"])
    told = "Nothing changed: v3 of words, the newest, gives .*same.*, and so does v1, the oldest"
    with pytest.raises(vnb.VellumNBError, match=told):
        ws.bisect("words", CASE)
    assert ws.history.count() == 2
    told = r"check raised KeyError: 'category' on the run of v1, which is FULFILLED; look at "
    with pytest.raises(vnb.VellumNBError, match=told) as caught:
        ws.bisect("words", CASE, lambda run: run.outputs["category"])
    assert isinstance(caught.value.__cause__, KeyError)


def test_only_the_releases_between_first_and_last_are_tried(server, ws):
    deployed(server, ["a", "b", "b", "b", "c"])
    bisection = ws.bisect("words", CASE, first="v2")
    assert (bisection.last_same, bisection.first_changed) == ("v4", "v5")
    checked = ws.bisect("words", CASE, lambda run: run.outputs["word"] == "c")
    assert checked.first_changed == "v5"
    assert checked.frame()["value"].tolist()[0] == "false"
    assert ws.bisect("words", CASE, last="v3").first_changed == "v2"
    with pytest.raises(vnb.InputError, match="first='v3' is newer than last='v2': .* v1, v2, v3"):
        ws.bisect("words", CASE, first="v3", last="v2")
    with pytest.raises(vnb.InputError, match="words has no release 'v9'; available: v1"):
        ws.bisect("words", CASE, last="v9")
    with pytest.raises(vnb.VellumNBError, match="Only 1 of 1 release of words can be run"):
        ws.bisect("words", CASE, first="v2", last="v2")
    deployed(server, ["old", "new"], tags=[None, None], name="bare")
    with pytest.raises(vnb.VellumNBError, match="Only 1 of 2 releases of bare can be run"):
        ws.bisect("bare", CASE)


def test_releases_without_a_tag_are_reported_when_the_change_may_be_in_them(server, ws):
    deployed(server, ["old", "old", "new", "new"], tags=["v1", None, None, "v4"])
    bisection = ws.bisect("words", CASE)
    assert (bisection.last_same, bisection.first_changed) == ("v1", "v4")
    ids = ws.releases("words")["release_id"].tolist()[::-1]
    assert bisection.between == (ids[1], ids[2])
    assert "2 releases without a release tag lie between" in repr(bisection)


def test_a_release_that_lost_its_tag_is_known_from_the_history(server, ws):
    deployed(server, ["old", "old", "new"], tags=["v1", "now", "v3"])
    ws.run("words", CASE, release_tag="now")
    server.move_tag("words", "now", "v3")
    bisection = ws.bisect("words", CASE)
    assert bisection.between == ()
    assert bisection.first_changed == "now"
    assert bisection.last_same == ws.releases("words")["release_id"].tolist()[1]


def test_repeats_settle_an_answer_that_is_not_always_the_same(server, ws):
    def flaky(word):
        turn = itertools.count()

        def workflow(text: str) -> str:
            return "odd" if next(turn) % 5 == 1 else word

        return workflow

    for number in range(1, 6):
        server.deploy(
            flaky("old" if number < 4 else "new"), name="flaky", release_tags=[f"v{number}"]
        )
    bisection = ws.bisect("flaky", CASE)
    assert (bisection.last_same, bisection.first_changed) == ("v3", "v4")
    assert (bisection.frame()["release_tag"].value_counts() == 5).all()
    fixed = ws.bisect("flaky", {"text": "bye"}, repeats=3)
    assert (fixed.frame()["release_tag"].value_counts() == 3).all()


def test_answers_that_are_never_the_same_are_refused(server, ws):
    turn = itertools.count()

    def chatty(text: str) -> str:
        return f"answer {next(turn)}"

    for tag in ("v1", "v2", "v3"):
        server.deploy(chatty, name="chatty", release_tags=[tag])
    told = "5 runs of chatty on v1 disagree, and none of their answers is that of more than half"
    with pytest.raises(vnb.VellumNBError, match=told):
        ws.bisect("chatty", CASE)
    with pytest.raises(vnb.VellumNBError, match="Nothing changed"):
        ws.bisect("chatty", CASE, lambda run: run.state)


@pytest.mark.slow
def test_an_input_that_an_old_release_does_not_know_is_not_sent_to_it(server, ws):
    server.deploy(answers("old"), name="words", release_tags=["v1"])
    server.deploy(answers("old", extra=True), name="words", release_tags=["v2"])
    bisection = ws.bisect("words", {"text": "hello", "shout": "yes"})
    assert (bisection.last_same, bisection.first_changed) == ("v1", "v2")
    assert bisection.runs[0].not_sent == ("shout",)
    assert {run.case_id for run in bisection.runs} == {bisection.runs[0].case_id}


def test_a_release_that_rejects_is_a_change(server, ws):
    def refuse(text: str) -> dict[str, object]:
        raise vnb.Reject("not today")

    deployed(server, ["old", "old"])
    server.deploy(refuse, name="words", release_tags=["v3"])
    bisection = ws.bisect("words", CASE)
    assert bisection.first_changed == "v3"
    assert "not today" in bisection.frame()["value"].tolist()[-1]
    assert ws.bisect("words", CASE, lambda run: run.state).first_changed == "v3"


def test_a_bisection_that_the_server_broke_off_goes_on_with_what_it_has(server, ws):
    deployed(server, ["old", "old", "new", "new"])
    first = ws.run("words", CASE, release_tag="v1")
    server.faults = Faults(rate_500=1.0, paths="/v1/execute-workflow")
    with pytest.raises(vnb.ServerError):
        ws.bisect("words", CASE)
    server.faults = None
    bisection = ws.bisect("words", CASE)
    assert bisection.first_changed == "v3"
    assert bisection.reused == 1
    assert bisection.runs[0].id == first.id
    assert {run.state for run in bisection.runs} == {"FULFILLED"}


def test_a_tag_that_moves_in_between_is_noticed(server, ws):
    deployed(server, ["old", "old", "new"])
    seen = []

    def check(run):
        if not seen:
            server.move_tag("words", "v3", "v1")
        seen.append(run)
        return run.outputs["word"]

    with pytest.raises(vnb.VellumNBError, match="The release tag v3 of words moved from"):
        ws.bisect("words", CASE, check)


def test_a_first_answer_that_misleads_is_found_out(server, ws):
    """The release before the change says "new" the first time, and never again."""
    turn = itertools.count()

    def misleading(text: str) -> dict[str, object]:
        return {"word": "new" if next(turn) == 0 else "old", "length": len(text)}

    deployed(server, ["old"] * 4)
    server.deploy(misleading, name="words", release_tags=["v5"])
    for tag in ("v6", "v7", "v8"):
        server.deploy(answers("new"), name="words", release_tags=[tag])
    bisection = ws.bisect("words", CASE)
    assert (bisection.last_same, bisection.first_changed) == ("v5", "v6")


def test_a_run_whose_tag_moved_is_not_taken_for_one_of_its_release(server, ws):
    deployed(server, ["old", "old", "new"])
    run = ws.run("words", CASE, release_tag="v2")
    other = {"id": "doubtful", "external_id": "doubtful", "outputs": {"word": "x"}}
    doubtful = run.model_copy(update=other | {"tag_moved": True})
    ws.history.delete([run.id])
    ws.history.begin(doubtful)
    assert ws.history.get("doubtful").tag_moved
    bisection = ws.bisect("words", CASE)
    assert (bisection.reused, bisection.first_changed) == (0, "v3")
