"""What a history in PostgreSQL costs: recording beside bare psycopg, reading beside pandas.

    python benchmarks/bench_postgres.py [--rows 100000] [--url URL] [--only recording ...]

It starts a server of its own with PostgreSQL's default settings, and fills it; `--url` takes a
history that `many_runs.py` wrote, whose index of words is made. Sides take turns; ratios are the
medians of the turns. The server's work is not in the seconds of a core.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import many_runs
import pandas as pd
import psycopg
from bench_history import REPLY, ended, expanded, run_of, spent

from vellum_nb import History

sys.path.append(str(Path(__file__).parents[1] / "notebooks"))

from tryout_postgres import TryoutPostgres

APPENDS, TURNS, FRAME = 500, 5, 100_000
SELECT = (
    "SELECT r.*, p.inputs, p.outputs, p.metadata FROM runs r JOIN payloads p ON p.seq = r.seq "
    "ORDER BY r.timestamp DESC, r.seq DESC LIMIT %s"
)


def bare(url: str) -> tuple[float, float]:
    """Time an insert and an update a run, each a transaction, in bare psycopg."""
    with psycopg.connect(url, autocommit=True) as database:
        database.execute("DROP TABLE IF EXISTS bare")
        database.execute("CREATE TABLE bare (id TEXT PRIMARY KEY, state TEXT, i TEXT, o TEXT)")

        def work() -> None:
            for number in range(APPENDS):
                with database.transaction():
                    values = (f"run-{number:07}", "STARTED", REPLY)
                    database.execute("INSERT INTO bare (id, state, i) VALUES (%s, %s, %s)", values)
                with database.transaction():
                    values = ("FULFILLED", REPLY, f"run-{number:07}")
                    database.execute("UPDATE bare SET state = %s, o = %s WHERE id = %s", values)

        return spent(work)


def ours(url: str) -> tuple[float, float]:
    """Time the same by a history."""
    first = time.time_ns()
    runs = [
        run_of(number).model_copy(update=dict.fromkeys(("id", "external_id"), f"{first}-{number}"))
        for number in range(APPENDS)
    ]
    ends = [ended(run) for run in runs]
    with History(url) as history:

        def work() -> None:
            for run, end in zip(runs, ends, strict=True):
                history.begin(run)
                history.finish(end)

        return spent(work)


def recording(url: str) -> None:
    """Record runs in an empty database, begun and finished, as durably as the server is set."""
    pairs = [(bare(url), ours(url)) for _ in range(TURNS)]
    times = [statistics.median(side[at][0] for side in pairs) / APPENDS for at in (0, 1)]
    ratio = statistics.median(b[0] / a[0] for a, b in pairs)
    cores = statistics.median(b[1] / a[1] for a, b in pairs)
    print(f"two bare transactions {times[0] * 1e6:.0f} us, a recorded run {times[1] * 1e6:.0f} us:")
    print(f"  {ratio:.2f} x, in seconds of a core {cores:.2f} x")


def by_pandas(url: str, rows: int) -> pd.DataFrame:
    """Return the newest runs by `read_sql` and `json_normalize`."""
    with psycopg.connect(url) as database, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would rather have SQLAlchemy
        return expanded(pd.read_sql(SELECT, database, params=(rows,)))


def reading(url: str, rows: int) -> None:
    """Read the newest runs whole, beside pandas."""
    rows = min(rows, FRAME)
    with History(url) as history:
        assert len(history.frame(limit=rows)) == len(by_pandas(url, rows))
        pairs = [
            (spent(lambda: history.frame(limit=rows)), spent(lambda: by_pandas(url, rows)))
            for _ in range(TURNS)
        ]
    times = [statistics.median(side[at][0] for side in pairs) for at in (0, 1)]
    ratio = statistics.median(b[0] / a[0] for a, b in pairs)
    print(f"frame() of {rows:,} {times[0]:.2f} s, read_sql + json_normalize {times[1]:.2f} s:")
    print(f"  {ratio:.1f} x")


def first_sort(history: History, order_by: str, *, descending: bool = True, **which: str) -> None:
    """Time an order whose values are not kept yet: the first rows so far, and all."""
    began, shown = time.perf_counter(), list[float]()

    def told(done: int, _total: int, so_far: Callable[[], object]) -> None:
        if done and not shown:
            so_far()
            shown.append(time.perf_counter() - began)

    history.page(limit=40, order_by=order_by, descending=descending, told=told, **which)
    took = time.perf_counter() - began
    what = f"{order_by}{'' if descending else ', smallest first'} {' '.join(which.values())}"
    print(f"first sort by {what}: rows {min([*shown, took]):.2f} s, all {took:.2f} s")


def looking(url: str, rows: int) -> None:
    """Time what somebody who looks at the history waits for."""
    with History(url) as history, tempfile.TemporaryDirectory() as folder:
        for name in ("confidence", "category", "reply"):
            for descending in (True, False):
                first_sort(history, f"output.{name}", descending=descending)
        for name in ("ticket", "vip"):
            first_sort(history, f"input.{name}")
        first_sort(history, "output.confidence", deployment="deployment-3")
        first_sort(history, "output.confidence", release_tag="v2")
        for what in ({"search": "nobody"}, {"order_by": "output.confidence"}):
            took, cpu = spent(lambda: list(history.prepare(**what)))  # noqa: B023
            print(f"made ready once for {next(iter(what))}: {took:.0f} s, a core {cpu:.0f} s")
        print("then, in ms of the clock:")
        questions: dict[str, Callable[[], object]] = {
            "opened": lambda: History(url).close(),
            "counted": history.count,
            "its size": lambda: history.size,
            "the first window": lambda: history.page(limit=40),
            "sorted by latency_s": lambda: history.page(limit=40, order_by="latency_s"),
            "sorted by output.confidence": lambda: history.page(
                limit=40, order_by="output.confidence"
            ),
            "the last 1,000 of one deployment": lambda: history.frame(
                deployment="deployment-3", limit=1000
            ),
            "searched: few runs": lambda: history.page(limit=40, search="customer 77777"),
            "searched: a phrase": lambda: history.page(limit=40, search='"refund policy"'),
            "searched: nine of ten runs": lambda: history.page(limit=40, search="refund"),
            "searched: one letter": lambda: history.page(limit=40, search="r"),
            "counted: nine of ten runs": lambda: history.count(search="refund"),
            f"a CSV of {min(rows, FRAME):,}": lambda: history.to_csv(
                Path(folder) / "runs.csv", limit=FRAME, progress=False
            ),
        }
        for name, question in questions.items():
            took = [spent(question) for _ in range(TURNS)]
            middle = statistics.median(each[0] for each in took) * 1e3
            print(f"  {name:36}{middle:10.1f}{max(each[0] for each in took) * 1e3:10.1f} slowest")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--url", help="a history of so many rows that is there")
    parser.add_argument("--only", nargs="*", default=["recording", "reading", "looking"])
    options = parser.parse_args()
    with ExitStack() as stack:
        server = stack.enter_context(TryoutPostgres())
        url = options.url or server.url()
        if options.url is None and {"reading", "looking"} & set(options.only):
            many_runs.copy(url, options.rows)
        if "recording" in options.only:
            with psycopg.connect(server.url(), autocommit=True) as database:
                database.execute("CREATE DATABASE recorded")
            recording(server.url("recorded"))
        if "reading" in options.only:
            reading(url, options.rows)
        if "looking" in options.only:
            looking(url, options.rows)
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
