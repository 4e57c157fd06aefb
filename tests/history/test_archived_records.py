"""Light rows of runs in archives: what is counted by is held, what was said is read on demand."""

import gc
import tracemalloc
from importlib import import_module

import pyarrow as pa
import pytest

import vellum_nb as vnb
from vellum_nb.history.keeping import archive_files, archived_records
from vellum_nb.history.reading import light
from vellum_nb.history.reading.records import Record, in_turn

NOON_OF_JULY = "2026-07-01T12:00:05Z"
COUNTED = [name for name in Record.__slots__ if not name.startswith("_")]


@pytest.fixture(params=["few", "many"])
def _few_or_many(request, monkeypatch):
    """Hold what was said, and read it when it is asked for, as of very many runs."""
    if request.param == "many":
        monkeypatch.setattr(light, "_FEW", 0)


def whole(records):
    return [
        {name: repr(getattr(each, name)) for name in (*COUNTED, "mark", "outputs", "inputs", "run")}
        for each in in_turn(records, whole=True)
    ]


@pytest.mark.usefixtures("_few_or_many")
@pytest.mark.parametrize("before", [NOON_OF_JULY, "2027-01-01"])
def test_they_are_the_same_before_and_after(history, odd, archive, monkeypatch, before):
    monkeypatch.setattr(archive_files, "_GROUP_ROWS", 2)
    monkeypatch.setattr(archived_records, "_ROOM", 0)  # keep one lot at a time
    known = whole(history.records())
    archive("2026-07-01T12:00:02Z")
    archive(before)
    assert whole(history.records(archived=True)) == known
    assert (
        whole(history.records(archived=True, limit=7, state="FULFILLED"))
        == [each for each in known if each["state"] == "'FULFILLED'"][:7]
    )
    assert (
        whole(history.records(archived=True, search="refund", limit=3))
        == [each for each in known if "refund" in each["inputs"]][:3]
    )
    assert history.records(archived=True)[9].run.nodes == ()  # as of others, `trace` reads them
    assert history.records(archived=True)[9].run.trace()["error"].tolist() == ["e"]


def test_what_was_said_in_very_many_is_not_held(path, make_run, monkeypatch):
    text = "a long answer, " * 1_000
    with vnb.History(path) as history:
        history.merge(
            make_run(
                inputs={"n": n},
                release_tag=tag,
                id=f"{tag}-{n}",
                outputs={"text": f"{n} {tag} {text}"},
                state="FULFILLED",
            )
            for tag in ("v1", "v2")
            for n in range(1_000)
        )
        monkeypatch.setattr(archive_files, "_GROUP_CHARACTERS", 2**20)
        monkeypatch.setattr(archived_records, "_ROOM", 2**22)
        assert history.archive(before="2100-01-01").runs == 2_000
        history.records(archived=True, limit=1)
        import_module("scipy.stats")
        tracemalloc.start()
        arrow = pa.total_allocated_bytes()
        try:
            compared = vnb.Comparison(
                history.records(archived=True),
                deployment="ticket-triage",
                release_tags=["v1", "v2"],
                metrics=vnb.metrics.length(),
            )
            assert compared.count("v2", "differs") == 1_000
            assert compared.against("v2").counts["same"] == 1_000
            gc.collect()
            held = tracemalloc.get_traced_memory()[0]
            assert pa.total_allocated_bytes() - arrow < 8_000_000  # of 30 MB
        finally:
            tracemalloc.stop()
        assert held < 12_000_000
        assert compared.cases[999].answer("v2").outputs["text"] == f"999 v2 {text}"


def test_the_tags_that_were_run_are_known_wherever_the_runs_are(history, record, archive):
    for tag in ("v1", "v2"):
        record(release_tag=tag)
    record(release_tag="v1", deployment="other")
    archive("2026-07-01T12:00:01Z")
    known = history.known_tags("ticket-triage")
    assert (known.here, known.archived, known.unread) == ({"v2"}, {"v1"}, ())
    path = archive("2027-01-01").path
    path.unlink()
    known = history.known_tags("ticket-triage")
    assert (known.here, known.archived, known.unread) == (set(), {"v1"}, (path,))
