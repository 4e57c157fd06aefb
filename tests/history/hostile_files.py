"""Histories and exports that were damaged or made to do harm, and everything that reads them."""

import json
import sqlite3
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
from runs_kit import progress_of

import vellum_nb as vnb
from vellum_nb import History, Run
from vellum_nb.history import Sweeps, ordered_runs, trace_frame
from vellum_nb.history.blind import BlindPair, BlindRecord
from vellum_nb.models import NodeRun
from vellum_nb.models.sweeps import Place, SweepCase, SweepRecord
from vellum_nb.sweep.cases import read_table

NOON = datetime(2026, 7, 1, tzinfo=UTC)
LIMIT_S = 10.0
SWEEP = "00000000-0000-0000-0000-000000000001"
DEEP = "[" * 100_000 + "]" * 100_000
DEEP_OBJECT = '{"a":' * 900 + "1" + "}" * 900  # as deep as Python just reads
ENDLESS = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT n FROM t"


def write_history(path):
    """Write a history that has a row in every table."""
    with History(path) as history:
        for number in range(6):
            fields = {
                "id": f"run-{number}",
                "deployment": "d",
                "release_tag": f"v{number % 2 + 1}",
                "release_id": "r",
                "timestamp": NOON + timedelta(seconds=number),
                "inputs": {"text": f"text {number}", "long": "x" * 40_000},
                "case_id": f"case-{number % 2}",
                "sweep_id": SWEEP if number > 1 else None,
                "external_id": f"run-{number}",
            }
            run = history.begin(Run(**fields))
            node = NodeRun(name="n", span_id="s", start=NOON, duration_s=1.0, state="FULFILLED")
            done = {"state": "CANCELLED" if number == 5 else "FULFILLED", "nodes": (node,)}
            done |= {"outputs": {"a": {"b": [1]}, "n": 1.5}, "finished_at": NOON, "latency_s": 0.5}
            done |= {"cost_usd": 0.1, "tokens_in": 3, "tokens_out": 4}
            history.finish(run.model_copy(update=done))
        history.annotate("run-0", tags=["t"], note="n", quality=0.5, desired={"a": 1})
        history.delete(["run-4"], why="w")
        cases = [SweepCase(at, f"case-{at}", {"text": "x"}, {"a": 1}, {"l": 2}) for at in range(2)]
        sweep = SweepRecord(
            id=SWEEP, deployment="d", release_tags=("v1", "v2"), repeats=1, cases=2,
            signature="s", created=NOON, round=1, case_order=(1, 0), options={"seed": 3},
            checked={"v1": NOON}, releases={"v1": "r", "v2": None},
        )  # fmt: skip
        Sweeps(history).add(sweep, cases, reused={Place(0, "v1", 0): "run-0"})
        Sweeps(history).acquire(sweep)  # and not released
        record = BlindRecord(
            id="blind", deployment="d", first="v1", second="v2", seed=1, question="q",
            signature="s", created=NOON,
        )  # fmt: skip
        history.blind_ratings.add(record, [BlindPair(0, 1, "case-0", "run-0", "run-1", same=False)])
        history.blind_ratings.rate("blind", 0, "first", a_first=True, note="n")
        history.search("text")
        history.annotate("run-1", note="later")  # a row in search_due
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def spoil(path, *statements, text=None):
    """Execute SQL on a file; ``:text`` is bound. Definitions in it are executed unsafely."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.create_function("vnb_boot", 0, lambda: 0)
        for sql in statements:
            db.execute(sql, {"text": text} if ":text" in sql else {})
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def redefine(path, old, new, *statements):
    """Change definitions in the file itself, execute statements, and leave it so."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")
        sql = "UPDATE sqlite_master SET sql = replace(sql, ?, ?)"
        db.execute(sql, (old, new))
        db.execute("PRAGMA writable_schema = RESET")
    if statements:
        spoil(path, *statements)


def set_any(path, table, column, value):
    """Put a value of any type into a column, which is strict in the end as it was before."""
    redefine(path, ") STRICT", ") ")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        try:
            db.execute(f"UPDATE {table} SET {column} = ?", (value,))
        finally:
            db.execute("PRAGMA writable_schema = ON")
            strict = "UPDATE sqlite_master SET sql = sql || 'STRICT' WHERE sql LIKE '%) '"
            db.execute(strict)
            db.execute("PRAGMA writable_schema = RESET")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def update(table, column, value, where="1"):
    """Return what changes a column of a file to the value of an SQL expression."""
    return lambda path: spoil(path, f"UPDATE {table} SET {column} = {value} WHERE {where}")


def bound(table, column, text):
    """Return what changes a column of a file to a long text."""
    return lambda path: spoil(path, f"UPDATE {table} SET {column} = :text", text=text)


HARM = {  # what a file defines is refused before anything of it is read or written
    "a trigger that deletes": lambda path: spoil(
        path, "CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM payloads; END"
    ),
    "a trigger on settings": lambda path: spoil(
        path, "CREATE TRIGGER t AFTER INSERT ON settings BEGIN DELETE FROM runs; END"
    ),
    "a trigger that is named as a table": lambda path: redefine(
        path, "CREATE INDEX runs_newest ON runs (timestamp, seq) WHERE deletion IS NULL",
        "CREATE TRIGGER runs_newest AFTER INSERT ON runs BEGIN DELETE FROM payloads; END",
    ),
    "an endless view in place of sweeps": lambda path: spoil(
        path, "DROP TABLE sweeps", f"CREATE VIEW sweeps AS SELECT * FROM ({ENDLESS})"
    ),
    "an endless view in place of runs": lambda path: spoil(
        path, "ALTER TABLE runs RENAME TO r", f"CREATE VIEW runs AS {ENDLESS}"
    ),
    "an endless view": lambda path: spoil(path, f"CREATE VIEW more AS {ENDLESS}"),
    "a generated column": lambda path: spoil(
        path,
        "ALTER TABLE leases ADD COLUMN x TEXT AS (printf('%.*c', 900000000, 'x')) VIRTUAL",
    ),
    "a check that takes long": lambda path: redefine(
        path, "holder TEXT NOT NULL", "holder TEXT NOT NULL CHECK (length(hex(zeroblob(9e8))) > 1)"
    ),
    "a table with a check": lambda path: spoil(
        path, "CREATE TABLE x (a CHECK (length(printf('%.*c', 900000000, 'x')) > 0))"
    ),
    "an index of an expression": lambda path: spoil(
        path, "CREATE INDEX x ON runs (length(note || printf('%.*c', 100, 'x')))"
    ),
    "a virtual table": lambda path: spoil(path, "CREATE VIRTUAL TABLE x USING fts5 (a)"),
    "a table that is not strict": lambda path: redefine(path, ") STRICT", ")"),
    "a missing table": lambda path: spoil(path, "DROP TABLE leases"),
    "a missing column": lambda path: spoil(path, "ALTER TABLE sweeps DROP COLUMN judge"),
}  # fmt: skip
DAMAGE = {
    "deep inputs": bound("payloads", "inputs", DEEP),
    "deep outputs": bound("payloads", "outputs", DEEP_OBJECT),
    "deep nodes": bound("payloads", "nodes", DEEP),
    "deep places of large values": bound("payloads", "large", DEEP),
    "deep tags": bound("runs", "tags", DEEP),
    "deep options": bound("sweeps", "options", DEEP),
    "deep checked": bound("sweeps", "checked", DEEP_OBJECT),
    "deep inputs of a case": bound("sweep_cases", "inputs", DEEP),
    "deep labels of a case": bound("sweep_cases", "labels", DEEP_OBJECT),
    "deep holder": bound("leases", "holder", DEEP),
    "deep clock": bound("settings", "value", DEEP),
    "deep large value": bound("large_values", "value", DEEP),
    "no holder": update("leases", "holder", "'{}'"),
    "a holder without a process": update(
        "leases", "holder", "json_remove(holder, '$.pid')"
    ),
    "a holder that is a list": update("leases", "holder", "'[1]'"),
    "a holder of a strange process": update(
        "leases", "holder", """json_set(holder, '$.pid', '../../etc')"""
    ),
    "torn holder": update("leases", "holder", "'{\"pid'"),
    "a lease until the end of time": update("leases", "expires_at", str(2**63 - 1)),
    "a lease before the beginning": update("leases", "expires_at", str(-(2**63))),
    "huge repeats": update("sweeps", "repeats", "1000000000000"),
    "many repeats": update("sweeps", "repeats", "2500000"),
    "no repeats": update("sweeps", "repeats", "-1"),
    "huge cases": update("sweeps", "(cases, case_order)", "(1000000000000, NULL)"),
    "more cases than there are": update("sweeps", "(cases, case_order)", "(40, NULL)"),
    "huge round": update("sweeps", "round", "9000000000000000000"),
    "many rounds": update("sweeps", "round", "1000"),
    "a time after all": update("sweeps", "created", str(2**62)),
    "an order of other cases": update("sweeps", "case_order", "'[7, 9]'"),
    "an order of text": update("sweeps", "case_order", "'[\"a\", null]'"),
    "tags that are a number": update("sweeps", "release_tags", "'5'"),
    "tags that are objects": update("sweeps", "release_tags", "'[{}, []]'"),
    "releases that are a list": update("sweeps", "releases", "'[1, 2]'"),
    "options that are a list": update("sweeps", "options", "'[1, 2]'"),
    "options of other types": update(
        "sweeps", "options", """'{"stop_when": [1], "seed": {}, "concurrency": "x", "no": 1}'"""
    ),
    "checked that is a list": update("sweeps", "checked", "'[1, 2]'"),
    "checked at no time": update("sweeps", "checked", "'{\"v1\": 1e300}'"),
    "a case that is a number": update("sweep_cases", "inputs", "'5'"),
    "a case that is torn": update("sweep_cases", "expected", "'{'"),
    "cases that are gone": lambda path: spoil(path, "DELETE FROM sweep_cases"),
    "a case at no position": update("sweep_cases", "position", "position + (1 << 60)"),
    "places of a case": update("sweep_cases", "large", "'[[\"inputs\", 1, 2, 3]]'"),
    "reused nowhere": update("sweep_reused", "(position, repeat)", "(1 << 60, -5)"),
    "a seed of blind ratings": update("blind", "seed", str(2**63 - 1)),
    "blind at no time": update("blind", "(created, ended)", f"({2**62}, {-(2**63)})"),
    "an unknown choice": update("blind_ratings", "choice", "'both'"),
    "rated at no time": update("blind_ratings", "(rated, sent)", f"({2**63 - 1}, {-(2**63)})"),
    "a rating of no pair": update("blind_ratings", "position", "99"),
    "a pair of no case": update("blind_pairs", "(number, position)", f"({2**62}, {2**62})"),
    "deleted at no time": update("deletions", "deleted_at", str(2**63 - 1)),
    "no deletion": lambda path: spoil(path, "DELETE FROM deletions"),
    "search of another number": update("settings", "value", "value || 'x'"),
    "search far ahead": update("settings", "value", "value || '9999999999999999999'"),
    "search of words": lambda path: spoil(path, "DELETE FROM search_words_data WHERE id > 1"),
    "search of torn words": update("search_words_data", "block", "x'ff00ff'"),
    "search rows": update("search_rows", "seq", "seq + (1 << 61)"),
    "a time of no run": update("runs", "(timestamp, finished_at)", f"({2**63 - 1}, {-(2**63)})"),
    "one run at no time": update("runs", "finished_at", str(2**62), "id = 'run-2'"),
    "doubt since no time": update("runs", "(doubt, doubt_since)", f"('SENT', {-(2**63)})"),
    "an unknown doubt": update("runs", "doubt", "'maybe'"),
    "infinite figures": update("runs", "(latency_s, cost_usd, quality)", "(9e999, 9e999, -9e999)"),
    "huge counts": update("runs", "(tokens_in, tokens_out, repeat)", f"({2**63 - 1}, -1, {2**62})"),
    "tags of a run": update("runs", "tags", "'{\"a\": 1}'"),
    "tags that are torn": update("runs", "tags", "'[\"a'"),
    "text that is not UTF-8": update("runs", "note", "CAST(x'80ff' AS TEXT)", "id = 'run-2'"),
    "ids that are not UTF-8": update("runs", "deployment", "CAST(x'80ff' AS TEXT)"),
    "a sweep that is not UTF-8": update("sweeps", "deployment", "CAST(x'80ff' AS TEXT)"),
    "a holder that is not UTF-8": update("leases", "holder", "CAST(x'80ff' AS TEXT)"),
    "a setting that is not UTF-8": update("settings", "value", "CAST(x'80ff' AS TEXT)"),
    "a pair that is not UTF-8": update("blind_pairs", "case_id", "CAST(x'80ff' AS TEXT)"),
    "a run on a tag that its sweep lacks": update("runs", "release_tag", "'0'"),
    "inputs that are a list": update("payloads", "inputs", "'[1]'"),
    "an integer of many digits": bound("payloads", "outputs", '{"n": ' + "9" * 5_000 + "}"),
    "numbers that are none": update("payloads", "outputs", "'{\"n\": NaN, \"m\": -Infinity}'"),
    "nodes of text": update("payloads", "nodes", "'[\"n\", 5]'"),
    "nodes in a circle": update(
        "payloads", "nodes", """'[{"name": "a", "span_id": "s", "parent_span_id": "s"}]'"""
    ),
    "metadata of text": update("payloads", "metadata", "'\"m\"'"),
    "large values that are gone": lambda path: spoil(path, "DELETE FROM large_values"),
    "large values at no place": update(
        "payloads", "large", """'[["inputs", ["x", 0, {}], "h"]]'"""
    ),
    "payloads that are gone": lambda path: spoil(path, "DELETE FROM payloads"),
    "the last number": lambda path: spoil(
        path, f"UPDATE payloads SET seq = {2**63 - 1} WHERE seq = 6",
        f"UPDATE runs SET seq = {2**63 - 1} WHERE seq = 6",
    ),
    "many names of outputs": lambda path: many_names(path),  # noqa: PLW0108
}  # fmt: skip


def many_names(path):
    """Give each of some runs a hundred outputs of its own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        names = [row[1] for row in db.execute("PRAGMA table_info(runs)") if row[1] != "seq"]
        values = [{"id": "id || n", "external_id": "NULL"}.get(name, name) for name in names]
        numbers = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t LIMIT 100) "
        db.execute(
            f"{numbers} INSERT INTO runs ({', '.join(names)}) SELECT {', '.join(values)} "
            "FROM runs, t WHERE id = 'run-2'"
        )
        for (seq,) in db.execute("SELECT seq FROM runs WHERE id LIKE 'run-2_%'").fetchall():
            outputs = json.dumps({f"{seq}-{at}": at for at in range(100)})
            db.execute(
                "INSERT INTO payloads (seq, inputs, outputs, output_types, not_sent) "
                "VALUES (?, '{}', ?, '{}', '[]')",
                (seq, outputs),
            )
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _export(method, ending, **options):
    return lambda history: getattr(history, method)(f"{history.path}{ending}", **options)


def _record(history):
    text = {"text": "x"}
    run = Run(id="new", deployment="d", release_tag="v1", timestamp=NOON, inputs=text, case_id="c")
    begun = history.begin(run)
    history.finish(begun.model_copy(update={"state": "FULFILLED", "outputs": {"a": 1}}))


def _in_workspace(call):
    """Return a reader of a workspace; no server answers."""

    def read(history):
        with vnb.connect("http://127.0.0.1:9", api_key="k" * 20, history=history) as workspace:
            return call(workspace)

    return read


def _sweep(workspace):
    sweep = workspace.open_sweep(SWEEP)
    return [repr(sweep), sweep.frame(), progress_of(sweep), sweep.failed()]


def _blind(history):
    ratings = history.blind_ratings
    return [ratings.get("blind"), ratings.pairs("blind"), ratings.ratings("blind"), ratings.frame()]


def _delete(history):
    history.delete(["run-0"])
    return history.undelete()


def _merge_from(path):
    with History(":memory:") as empty:
        return empty.merge(path)


def _merge_into(history):
    fields = {"deployment": "d", "release_tag": "v1", "timestamp": NOON, "case_id": "c"}
    fields |= {"state": "FULFILLED", "tags": ("x",), "desired": {"a": 2}, "inputs": {}}
    return history.merge([Run(id="run-0", **fields)])


READERS = {  # all of them use one open history, those that change it come last
    "repr": lambda history: [repr(history), history._repr_html_()],
    "frame": lambda history: repr(history.frame()),
    "frame of the others": lambda history: history.frame(skip_damaged=True),
    "runs": lambda history: [repr(run) for run in history.runs()],
    "runs of the others": lambda history: history.runs(skip_damaged=True),
    "scan": lambda history: [len(part) for part in history.scan(chunk_rows=2)],
    "newest": lambda history: ordered_runs(history).runs(offset=0, limit=9),
    "sorted": lambda history: ordered_runs(history, order_by="output.n").runs(offset=0, limit=9),
    "get": lambda history: repr(history.get("run-2")),
    "trace": lambda history: repr(trace_frame(history.get("run-2").nodes)),
    "deletions": lambda history: repr(history.deletions()),
    "get a deleted one": lambda history: history.get("run-4"),
    "backup": lambda history: history.backup(f"{history.path}.backup"),
    "CSV": _export("to_csv", ".csv"),
    "CSV of the others": _export("to_csv", ".csv", skip_damaged=True),
    "JSON lines": _export("to_jsonl", ".jsonl"),
    "JSON lines of the others": _export("to_jsonl", ".jsonl", skip_damaged=True),
    "Parquet": _export("to_parquet", ".parquet"),
    "merge from": lambda history: _merge_from(history.path),
    "check": lambda history: str(vnb.check_history(history.path)),
    "sweeps": _in_workspace(lambda workspace: repr(workspace.sweeps())),
    "a sweep": _in_workspace(_sweep),
    "cases": lambda history: Sweeps(history).cases(SWEEP),
    "blind ratings": _blind,
    "search": lambda history: history.search("text"),
    "delete": _delete,
    "annotate": lambda history: history.annotate("run-0", tags=lambda tags: [*tags, "x"]),
    "merge into": _merge_into,
    "record": _record,
    "vacuum": lambda history: history.vacuum(),
}
CLOSED_READERS = {  # of a file that is not opened before
    "open": lambda path: History(path).close(),
    "merge": _merge_from,
    "check": vnb.check_history,
}


def csv_of(*names, rows=((),)):
    lines = [",".join(f'"{name}"' for name in names), *(",".join(row) for row in rows)]
    return "\n".join(lines).encode()


def jsonl_of(**fields):
    run = {"id": "a", "deployment": "d", "release_tag": "v", "timestamp": "2026-07-01T00:00Z"}
    return json.dumps({**run, "inputs": {}, "case_id": "c", **fields}).encode()


def parquet_of(table, **options):
    buffer = BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def many_rows():
    """Return a small Parquet file that says it has 200 million rows."""
    buffer = BytesIO()
    names = pa.DictionaryArray.from_arrays(pa.nulls(1_000_000, pa.int8()), pa.array(["x"]))
    table = pa.table({"release_tag": names})
    with pq.ParquetWriter(buffer, table.schema) as writer:
        for _ in range(200):  # row groups
            writer.write_table(table)
    return buffer.getvalue()


LINES = (b"id,inputs", b'{"id": ', b"\xff\xfe\x00", b"[1]", b"5", b"null", b"")
FILES = {
    ".csv": {
        "other bytes": b"\x80\xff,1\n2,3",
        "many columns": lambda: csv_of(*(f"c{at}" for at in range(60_000)), rows=()),
        "many equal columns": lambda: csv_of(*["c"] * 60_000, rows=()),
        "a long number": csv_of("repeat", rows=[["9" * 6_000]]),
        "a large number": csv_of("tokens_in", rows=[["9" * 30]]),
        "an impossible time": csv_of("timestamp", rows=[['"99999-01-01"']]),
        "a torn quote": b'"a","b"\n"1",2"3',
        "quotes without end": b'"a"\n"' + b'""' * 500_000,
        "NULs": b"\0" * 1000,
        "nothing": b"",
        "an infinite time": csv_of("timestamp", rows=[["inf"]]),
        "UTF-16 cut off": b"\xff\xfea",
    },
    ".jsonl": {
        "deep": DEEP.encode(),
        "deep inputs": jsonl_of(inputs={}).replace(b'"inputs": {}', f'"inputs": {DEEP}'.encode()),
        "as deep as is read": b'{"a":' * 900 + b"1" + b"}" * 900,
        **{f"line {line!r}": line for line in LINES},
        "tags of a number": b'{"tags": 5}',
        "tags of objects": b'{"tags": [{}, []]}',
        "a time of a number": b'{"timestamp": 5}',
        "a time of a list": b'{"timestamp": [1]}',
        "fractions of tokens": b'{"tokens_in": 1.5}',
        "text of tokens": b'{"tokens_in": "x"}',
        "objects of states": b'{"state": {}}\n{"state": 5}',
        "kinds of tags": b'{"release_tag": 5}\n{"release_tag": "a"}',
        "figures of text": b'{"latency_s": "x"}',
        "large numbers": b'{"repeat": 99999999999999999999999}',
        "long numbers": b'{"repeat": ' + b"9" * 6_000 + b"}",
        "names that are none": b'{"a": 1}\n{"b": 1}',
        "a run of numbers": jsonl_of(timestamp=1e300, repeat=1e300, tags=5, nodes="x"),
        "a run of no time": jsonl_of(timestamp="9999-12-31T23:59:59-23:59"),
        "a run with large counts": jsonl_of(tokens_in=10**30, repeat=-(10**30)),
        "a run with infinite figures": jsonl_of(latency_s=float("inf"), cost_usd=float("nan")),
        "many names": lambda: b"\n".join(
            jsonl_of(outputs={f"{at}-{n}": 1 for n in range(100)}) for at in range(100)
        ),
        "halves of pairs": jsonl_of(outputs={"\ud800": "\udfff"}),
    },
    ".parquet": {
        "other bytes": b"PAR1" + b"\xff" * 100 + b"PAR1",
        "nothing": b"",
        "cut off": parquet_of(pa.table({"id": ["a"]}))[:-20],
        "many rows": many_rows,
        "JSON that is torn": parquet_of(pa.table({"a": ["{"]}, metadata={
            b"vellum_nb.json": b'["a"]'
        })),
        "JSON that is deep": parquet_of(pa.table({"a": [DEEP]}, metadata={
            b"vellum_nb.json": b'["a"]'
        })),
        "names that are none": parquet_of(pa.table({"a": [1]}, metadata={
            b"vellum_nb.json": b'["b", 5, {}]'
        })),
        "a list of names": parquet_of(pa.table({"a": [1]}, metadata={b"vellum_nb.json": b"5"})),
        "deep names": parquet_of(pa.table({"a": [1]}, metadata={
            b"vellum_nb.json": DEEP.encode()
        })),
        "metadata of pandas": parquet_of(pa.table({"a": [1]}, metadata={
            b"pandas": b'{"columns": 5, "index_columns": [{}]}'
        })),
        "a time after all": parquet_of(pa.table({
            "timestamp": pa.array([2**62], pa.timestamp("us", "UTC"))
        })),
        "an unknown zone": parquet_of(pa.table({
            "timestamp": pa.array([1], pa.timestamp("us", "Nowhere/City"))
        })),
        "equal names": parquet_of(pa.Table.from_arrays([pa.array([1])] * 2, names=["a", "a"])),
    },
}  # fmt: skip
FILE_READERS = {
    "read_csv": vnb.read_csv,
    "read_jsonl": vnb.read_jsonl,
    "read_parquet": vnb.read_parquet,
    "merge": _merge_from,
    "cases": read_table,
}


def outcome_of(read, *arguments):
    """Return the error that reading raises, None without one, and the CPU seconds it took.

    The machine may be busy with other tests. A thread that does not end is left alone: the test
    has failed, with the seconds that passed.
    """
    errors = []

    def call():
        try:
            read(*arguments)
        except BaseException as exc:  # noqa: BLE001 - the test looks at it
            errors.append(exc)

    thread = threading.Thread(target=call, daemon=True)
    began, cpu_s = time.monotonic(), time.process_time()
    thread.start()
    thread.join(6 * LIMIT_S)
    seconds = time.monotonic() - began if thread.is_alive() else time.process_time() - cpu_s
    return (errors[0] if errors else None), seconds
