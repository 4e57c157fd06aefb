"""What the history costs: recording, beside bare sqlite3 in the same run, and reading.

    python benchmarks/bench_history.py [--rows 100000]

Prints medians. The file lies in a temporary folder, so its disk is the one that is measured.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vellum_nb import History
from vellum_nb.models import Run

REPLY = "Thanks for writing. We are sorry about the second charge and refund it today. " * 18
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
APPENDS = 2000


def run_of(number: int) -> Run:
    return Run(
        id=f"run-{number:07}",
        external_id=f"run-{number:07}",
        deployment=f"deployment-{number % 10}",
        release_tag=f"v{number % 3}",
        timestamp=NOON + timedelta(seconds=number),
        inputs={"ticket": REPLY, "sla_hours": number % 72, "vip": number % 2 == 0},
        case_id=f"case-{number % 1000}",
    )


def ended(run: Run) -> Run:
    outputs = {"category": "billing", "priority": "high", "reply": REPLY}
    return run.model_copy(
        update={
            "state": "FULFILLED",
            "execution_id": f"exec-{run.id}",
            "outputs": outputs,
            "output_types": dict.fromkeys(outputs, "STRING"),
            "finished_at": run.timestamp,
            "latency_s": 0.25,
        }
    )


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def bare(path: Path) -> float:
    """Time an insert and an update a run in bare sqlite3, the limit of any history in SQLite."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE runs (id TEXT PRIMARY KEY, state TEXT, ins TEXT, outs TEXT)")

    def work() -> None:
        for number in range(APPENDS):
            connection.execute("BEGIN IMMEDIATE")
            values = (f"run-{number:07}", "STARTED", REPLY)
            connection.execute("INSERT INTO runs (id, state, ins) VALUES (?, ?, ?)", values)
            connection.execute("COMMIT")
            connection.execute("BEGIN IMMEDIATE")
            values = ("FULFILLED", REPLY, f"run-{number:07}")
            connection.execute("UPDATE runs SET state = ?, outs = ? WHERE id = ?", values)
            connection.execute("COMMIT")

    spent = seconds(work)
    connection.close()
    return spent


def ours(path: Path) -> float:
    runs = [run_of(number) for number in range(APPENDS)]
    ends = [ended(run) for run in runs]
    with History(path) as history:

        def work() -> None:
            for run, end in zip(runs, ends, strict=True):
                history.begin(run)
                history.finish(end)

        return seconds(work)


def filled(path: Path, rows: int) -> History:
    history = History(path)
    for number in range(rows):
        run = run_of(number)
        history.begin(run)
        history.finish(ended(run))
    return history


def median_ms(call: Callable[[], object]) -> str:
    call()
    return f"{statistics.median(seconds(call) for _ in range(5)) * 1000:8.1f} ms"


def recording(folder: Path) -> None:
    pairs = [(bare(folder / f"bare{n}.db"), ours(folder / f"ours{n}.db")) for n in range(5)]
    limit, spent = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"recorded runs a second (begin and finish, durable): {APPENDS / spent:8.0f}")
    print(f"the same two transactions in bare sqlite3:          {APPENDS / limit:8.0f}")
    print(f"ours costs {spent / limit:.2f} x the bare ones (target: at most 2.5)")


def reading(folder: Path, rows: int) -> None:
    for count in (1000, rows):
        print(f"\n{count} runs")
        with filled(folder / f"read{count}.db", count) as history:
            for name, call in calls(history, count).items():
                print(f"  {name:<30} {median_ms(call)}")


def calls(history: History, count: int) -> dict[str, Callable[[], object]]:
    return {
        "frame(limit=1000)": lambda: history.frame(limit=1000),
        "frame(deployment, limit=1000)": lambda: history.frame(
            deployment="deployment-3", limit=1000
        ),
        "page()": history.page,
        "page(), the last one": lambda: history.page(offset=count - 100),
        "page(order_by='latency_s')": lambda: history.page(order_by="latency_s"),
        "page(order_by='input.sla_hours')": lambda: history.page(order_by="input.sla_hours"),
        "count(search='not there')": lambda: history.count(search="not there"),
        "count()": history.count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recording(Path(folder))
        reading(Path(folder), arguments.rows)


if __name__ == "__main__":
    main()
