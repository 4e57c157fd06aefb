"""Whatever two copies of a history hold: a merge loses nothing, and its direction is the same."""

from hypothesis import given, settings
from hypothesis import strategies as st

from vellum_nb import History

edits = st.fixed_dictionaries(
    {},
    optional={
        "note": st.sampled_from(["", "one", "two", "one\ntwo", "three"]),
        "tags": st.lists(st.sampled_from("abc"), max_size=3, unique=True),
        "quality": st.sampled_from([0.0, 0.5, 1.0]),
        "desired": st.dictionaries(st.sampled_from("xy"), st.integers(0, 2), max_size=2),
    },
)
# what each side does to each of four runs: has it not, began it, ended it; and how it was judged
sides = st.lists(
    st.tuples(st.sampled_from(["absent", "begun", "ended"]), edits), min_size=4, max_size=4
)


def filled(history, runs, side):
    for run, (state, edit) in zip(runs, side, strict=True):
        if state == "absent":
            continue
        history.begin(run.model_copy(update={"state": "STARTED", "outputs": {}}))
        if state == "ended":
            history.finish(run)
        history.annotate(run.id, **edit)


def told(history):
    return sorted(history.runs(), key=lambda run: run.id)


@settings(max_examples=60)
@given(one=sides, two=sides)
def test_a_merge_is_idempotent_and_loses_nothing(make_run, one, two):
    runs = [make_run(id=f"r{n}", state="FULFILLED", outputs={"x": n}) for n in range(4)]
    with History(":memory:") as ours, History(":memory:") as theirs:
        filled(ours, runs, one)
        filled(theirs, runs, two)
        before, other = told(ours), told(theirs)
        ours.merge(theirs)
        after = told(ours)
        again = ours.merge(theirs)
        assert (again.added, again.completed, again.updated) == (0, 0, 0)
        assert told(ours) == after
        assert told(theirs) == other
        assert {run.id for run in after} == {run.id for run in (*before, *other)}
        found = {run.id: run for run in after}
        for run in (*before, *other):
            kept = found[run.id]
            assert run.state in ("STARTED", kept.state)
            assert set(run.tags) <= set(kept.tags)
            assert set((run.note or "").splitlines()) <= set((kept.note or "").splitlines())
            outvoted = run.quality in (None, kept.quality) or f"quality {run.quality}" in kept.note
            assert outvoted


@settings(max_examples=40)
@given(one=sides, two=sides, mine=st.lists(st.booleans(), min_size=4, max_size=4))
def test_of_disjoint_edits_it_does_not_matter_who_merges_whom(make_run, one, two, mine):
    one = [(side[0], side[1] if own else {}) for side, own in zip(one, mine, strict=True)]
    two = [(side[0], {} if own else side[1]) for side, own in zip(two, mine, strict=True)]
    runs = [make_run(id=f"r{n}", state="FULFILLED", outputs={"x": n}) for n in range(4)]
    both = []
    for left, right in ((one, two), (two, one)):
        with History(":memory:") as ours, History(":memory:") as theirs:
            filled(ours, runs, left)
            filled(theirs, runs, right)
            ours.merge(theirs)
            both.append(told(ours))
    assert both[0] == both[1]
