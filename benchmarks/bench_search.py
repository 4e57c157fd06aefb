"""How long a first search in Python takes, in a history that was never searched.

    python benchmarks/bench_search.py [--million FILE] [--rows 1000000]

What is derived from the runs is dropped before each search. Then the index of words beside bare
FTS5 with its own tokenizer, which knows nothing of JSON. Without ``--million FILE``, which is
written to, a history is made. It fails where a search takes 30 s.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import many_runs

from vellum_nb import History

BARE, MOST_S = 50_000, 30.0
SEARCHES = ("nobody wrote this", "customer 77777", '"refund policy"', "refund")
DERIVED = ("search_words", "search_due")
TEXTS = "SELECT seq, inputs || ' ' || outputs FROM payloads WHERE seq <= ?"


def spent(call: Callable[[], object]) -> tuple[float, float, object]:
    """Return how many seconds a call took by the clock and of CPU, and its result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def forget(history: History) -> None:
    """Drop the index."""
    with history._store.write() as connection:  # noqa: SLF001  (nobody else wants this)
        for table in DERIVED:
            connection.execute(f"DROP TABLE IF EXISTS {table}")
        connection.execute("DELETE FROM settings WHERE name = 'search'")


def searches(history: History) -> float:
    """Print what first searches take; return the longest, in seconds by the clock."""
    longest = 0.0
    for text in SEARCHES:
        forget(history)
        wall, cpu, count = spent(lambda: history.count(search=text))  # noqa: B023
        print(f"count(search={text!r}), {count:,}: {cpu:.1f} s of CPU, {wall:.1f} s by the clock")
        longest = max(longest, wall)
    forget(history)
    wall, cpu, _ = spent(lambda: history.search("refund", limit=100))
    print(f"search('refund', limit=100): {cpu:.2f} s of CPU, {wall:.2f} s by the clock")
    return longest


def index(history: History) -> None:
    """Print what the index of words takes, and what bare FTS5 does."""
    rows = history._store.read(TEXTS, (BARE,))  # noqa: SLF001  (nobody else wants this)
    with tempfile.TemporaryDirectory() as folder, sqlite3.connect(f"{folder}/bare.db") as bare:
        bare.execute("CREATE VIRTUAL TABLE bare USING fts5(words, content='', columnsize=0)")
        insert = "INSERT INTO bare (rowid, words) VALUES (?, ?)"
        _, cpu, _ = spent(lambda: bare.executemany(insert, rows))
    bare_us = 1e6 * cpu / len(rows)
    forget(history)
    wall, cpu, _ = spent(lambda: list(history.prepare(search="refund")))
    ours_us = 1e6 * cpu / history.count()
    print(f"the whole index: {cpu:.0f} s of CPU, {wall:.0f} s by the clock")
    print(f"  {ours_us:.0f} us of CPU a run; bare FTS5 {bare_us:.0f}: {ours_us / bare_us:.2f} x")


def main() -> int:
    """Measure; return 1 where a search takes too long."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--million", type=Path, help="a history that is there")
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.million or Path(folder) / "runs.db"
        if options.million is None:
            many_runs.write(path, options.rows)
        with History(path) as history:
            longest = searches(history)
            index(history)
    return int(longest >= MOST_S)


if __name__ == "__main__":
    sys.exit(main())
