"""Makes a history file by the vellum_nb that is importable, and a list of what must come out of it.

Run it with the code of the day in question, see README.md. It uses what that code has.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from inspect import signature
from pathlib import Path

from vellum_nb.history import History
from vellum_nb.history.sqlite.migrations import SCHEMA_VERSION
from vellum_nb.models import NodeRun, Run, case_id

HERE = Path(__file__).parent
DAY = datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
SWEEP = "3f2a0000-0000-0000-0000-000000000001"
TEXTS = {
    "plain": "I was charged twice",
    "empty": "",
    "unicode": "Ünïcödé 漢字 🎉 \u2028 \u202e e\u0301",
    "half": "a broken \ud83d emoji",
    "nul": "before\0after",
    "lines": "one\r\ntwo\n\"three\",\t'four'",
    "formula": '=HYPERLINK("http://x")',
    "long": "long " * 1500,
}
VALUES = {
    "null": None,
    "true": True,
    "big": 2**200 + 1,
    "small": -(2**63) - 1,
    "float": 0.1 + 0.2,
    "tiny": 5e-324,
    "nan": float("nan"),
    "infinite": [float("inf"), float("-inf")],
    "nested": {"z": [1, {"a": []}], "a": {}},
    "chat": [{"role": "USER", "text": "hi"}],
}
NODES = (
    {"name": "Classify", "state": "FULFILLED", "start": DAY, "duration_s": 0.25, "span_id": "s1"},
    {"name": "Réply", "state": "REJECTED", "error": "no", "parent_span_id": "s1", "tokens_in": 3},
)


def runs():
    """Yield every kind of run."""
    for number, (name, text) in enumerate(TEXTS.items()):
        yield run(f"text-{name}", number, inputs={"ticket": text}, outputs={"reply": text})
    for number, (name, value) in enumerate(VALUES.items()):
        yield run(f"value-{name}", 20 + number, inputs={name: 1}, outputs={name: value, "z": 1})
    error = {"code": "NODE_EXECUTION", "message": "it broke: ü"}
    yield run("rejected", 40, state="REJECTED", outputs={}, error=error)
    error = {"code": "TIMEOUT", "message": ""}
    yield run("failed", 41, state="FAILED", outputs={}, execution_id=None, error=error)
    yield run("cancelled", 42, state="CANCELLED", outputs={"reply": "half an ans"})
    yield run("started", 43, state="STARTED", outputs={}, execution_id=None)
    yield run("bare", 44, outputs={}, inputs={}, execution_id=None, external_id=None, bare=True)
    for number, tag in enumerate(("v1", "v2", "v1", "v2")):
        where = {"release_tag": tag, "sweep_id": SWEEP, "repeat": number // 2}
        yield run(f"sweep-{number}", 50 + number, tag_moved=number == 3, **where)
    yield run("deleted", 60)


def run(name, number, *, bare=False, **fields):
    inputs = fields.setdefault("inputs", {"ticket": name, "n": number})
    sent = DAY + timedelta(hours=number)
    more = {
        "release_id": "rel-1",
        "environment": "production",
        "finished_at": sent + timedelta(seconds=1.5),
        "latency_s": 1.4999,
        "output_types": {"reply": "STRING"},
        "not_sent": ("vip",),
        "metadata": {"who": "ann", "n": 2**70},
        "previous_execution_id": "before",
        "cost_usd": 0.00125,
        "tokens_in": 2**40,
        "tokens_out": 7,
        "model": "gpt-x",
    }
    return Run.model_validate(
        {
            "id": name,
            "execution_id": f"exec-{name}",
            "external_id": f"ext-{name}",
            "deployment": "ticket-triage" if number % 3 else "docs-qa",
            "release_tag": "v1",
            "timestamp": sent,
            "state": "FULFILLED",
            "outputs": {"reply": "Thanks"},
            "case_id": case_id(inputs),
        }
        | ({} if bare else more)
        | fields
    )


BEGUN = {"state": "STARTED", "outputs": {}, "error": None, "finished_at": None, "latency_s": None}


def fill(history):
    """Record, judge and delete."""
    for each in runs():
        history.begin(each.model_copy(update=BEGUN))
        if each.state != "STARTED":
            history.finish(each)
    history.annotate("text-plain", note="note with ü", tags=["good", "ü,x"], quality=1.0)
    history.annotate("rejected", quality=0.25)
    history.delete(["deleted"])
    if hasattr(history, "undelete"):
        fill_large(history)
    if hasattr(history, "archive"):
        fill_archive(history)
    if hasattr(history, "keep_nodes"):
        history.annotate("text-plain", desired={"reply": "I am sorry", "n": [1, None]})
        history.keep_nodes("text-unicode", [NodeRun.model_validate(node) for node in NODES])
    if hasattr(history, "sweeps"):
        fill_sweeps(history)
    if hasattr(history, "blind"):
        fill_blind(history)


def fill_large(history):
    document = "a long document, ü " * 2000
    fields = {"inputs": {"doc": document}, "outputs": {"reply": [{"again": document}, "short"]}}
    large = run("large", 61, **fields)
    if "author" in Run.model_fields:
        large = large.model_copy(update={"author": "änn"})
    history.begin(large.model_copy(update=BEGUN))
    history.finish(large)


def fill_archive(history):
    document = "an old document, ü " * 2000
    for each in (
        run("archived", -30, outputs={"reply": "old, ü"}, author="änn"),
        run("archived-large", -29, inputs={"doc": document}, outputs=VALUES),
    ):
        history.begin(each.model_copy(update=BEGUN))
        history.finish(each)
    history.annotate("archived", note="from before", tags=["old"], quality=0.5)
    history.archive(before=DAY - timedelta(days=1), path=archive_of(history.path))


def archive_of(path):
    return path.with_name(f"{path.stem}-archive.parquet")


def fill_sweeps(history):
    from vellum_nb.models.sweeps import Place, SweepCase, SweepRecord

    big = {"ticket": None, "big": 2**80, "doc": "a long case, ü " * 3000}
    cases = [
        SweepCase(0, case_id({"ticket": "a"}), {"ticket": "a"}, {"reply": "b"}, {"who": "änn"}),
        SweepCase(1, case_id(big), big),
    ]
    fields = {
        "id": SWEEP,
        "deployment": "ticket-triage",
        "release_tags": ("v1", "v2"),
        "repeats": 2,
        "cases": 2,
        "signature": "sig",
        "created": DAY,
        "releases": {"v1": "rel-1", "v2": None},
    }
    if "options" in SweepRecord.model_fields:
        fields["options"] = {"max_calls": 7, "expand_meta": True}
    history.sweeps.add(SweepRecord(**fields), cases, taken={Place(1, "v1", 1): "text-plain"})
    history.sweeps.change(SWEEP, why="stopped by you", round=1)
    ended = {"id": SWEEP.replace("3f2a", "aaaa"), "environment": "production"}
    history.sweeps.add(SweepRecord(**fields | ended), cases)
    history.sweeps.change(ended["id"], ended=DAY + timedelta(days=1))


def fill_blind(history):
    from vellum_nb.models.blind import BlindPair, BlindRecord

    fields = {"deployment": "ticket-triage", "first": "v1", "second": "v2", "signature": "s"}
    record = BlindRecord(id="b1", seed=-5, question="Which, ü?", created=DAY, **fields)
    pairs = [
        BlindPair(0, 1, "c1", "sweep-0", "sweep-1", same=False),
        BlindPair(1, 3, "c3", "sweep-2", "sweep-3", same=True),
    ]
    history.blind.add(record, pairs)
    history.blind.rate("b1", 0, "first", a_first=False, note="clear")
    newest = history.blind.ratings("b1")[-1].seq
    wanted = "seq" in signature(history.blind.undo).parameters
    history.blind.undo(*(["b1", newest] if wanted else ["b1"]))
    history.blind.rate("b1", 0, "second", a_first=False, note="")
    history.blind.rate("b1", 1, "tie", a_first=True, note="ü")
    history.blind.end("b1")


def rows(path):
    """Yield every row of the tables beside the runs, as SQLite has them."""
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        sql = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
        for (table,) in db.execute(sql).fetchall():
            if table not in {"runs", "payloads"}:
                for row in db.execute(f"SELECT * FROM {table}"):
                    yield {"table": table, "row": dict(row)}


def plain(run):
    return json.loads(json.dumps(run.model_dump(), default=datetime.isoformat))


def main():
    path = HERE / f"v{SCHEMA_VERSION}.db"
    for file in (path, archive_of(path)):
        file.unlink(missing_ok=True)
    with History(path) as history:
        fill(history)
        here = history.runs()
        found = [{"run": plain(run)} for run in here]
        if hasattr(history, "archive"):
            known = {run.id for run in here}
            every = history.runs(archived=True)
            found += [{"archived": plain(run)} for run in every if run.id not in known]
    with closing(sqlite3.connect(path)) as db:
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    lines = [json.dumps(each) for each in (*found, *rows(path))]
    path.with_suffix(".jsonl").write_text("\n".join(lines) + "\n", encoding="ascii")
    sys.stdout.write(f"{path.name}: {len(found)} runs, {path.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
