"""What keeping large values once saves, and what a merge and an archive take.

In one process, CPU seconds (the machine may be busy). The same runs are recorded twice, once with
every value in its row. Run it with ``python benchmarks/bench_keeping.py``; exits with 1 where a
target is missed.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from vellum_nb import History, Run
from vellum_nb.history.store import large

DOCUMENTS, CALLS = 20, 15  # a sweep: each document on 3 release tags, 5 times
RUNS = 20_000
START = datetime(2026, 1, 1, tzinfo=UTC)
SMALLER, LIGHTER = 1 / 5, 64  # of the file; MB that a merge may add


def run(number: int, inputs: dict[str, str]) -> Run:
    return Run(
        id=f"run-{number}",
        deployment="docs-qa",
        release_tag=f"v{number % 3 + 1}",
        timestamp=START + timedelta(seconds=number),
        inputs=inputs,
        case_id="c",
    )


def record(history: History, runs: list[Run]) -> None:
    for each in runs:
        history.begin(each)
        history.finish(each.model_copy(update={"state": "FULFILLED", "outputs": {"a": "yes"}}))


def seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def documents(folder: Path) -> bool:
    texts = [f"{n} " + "The quick brown fox jumps over it. " * 6_000 for n in range(DOCUMENTS)]
    runs = [run(n, {"document": texts[n % DOCUMENTS]}) for n in range(DOCUMENTS * CALLS)]
    sizes, took, read = [], [], []
    for threshold in (10**9, large.LARGE):
        large.LARGE = threshold
        with History(folder / f"{threshold}.db") as history:
            took.append(seconds(lambda: record(history, runs)))
            read.append(seconds(history.frame))
            sizes.append(history.size)
    print(f"{len(runs)} runs on {DOCUMENTS} documents of {len(texts[0]):,} characters")
    print(f"  file     {sizes[0] / 1e6:6.1f} MB in rows, {sizes[1] / 1e6:6.1f} MB kept once")
    print(f"           = {sizes[1] / sizes[0]:.2f}, target at most {SMALLER:.2f}")
    print(
        f"  record   {took[1] / took[0]:.2f} x, read as a frame {read[1] / read[0]:.2f} x the CPU"
    )
    return sizes[1] <= SMALLER * sizes[0]


def many(folder: Path) -> bool:
    with History(folder / "laptop.db") as other, History(folder / "mine.db") as mine:
        ended = {"state": "FULFILLED", "outputs": {"a": "text " * 100}}
        other.merge([run(n, {"q": f"{n}"}).model_copy(update=ended) for n in range(RUNS)])
        assert pd
        assert pq
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        merged = seconds(lambda: mine.merge(other))
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        again = seconds(lambda: mine.merge(other))
        archived = seconds(lambda: mine.archive(before=START + timedelta(days=365)))
        frame = seconds(lambda: mine.frame(archived=True))
        live = seconds(other.frame)
    print(f"{RUNS:,} runs, CPU seconds")
    print(f"  merge    {merged:.2f}, again {again:.2f}; {grown:.0f} MB more, target {LIGHTER}")
    print(f"  archive  {archived:.2f}; its frame {frame:.2f}, before it {live:.2f}")
    return grown <= LIGHTER


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        kept = [documents(Path(folder)), many(Path(folder))]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
