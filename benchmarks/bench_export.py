"""What a CSV of a history costs, beside `DataFrame.to_csv` of the same frame in the same run.

    python benchmarks/bench_export.py [--rows 100000] [--rounds 3] [--history FILE]

Ours reads the runs from the file and writes them; the peer has its frame at hand, and only writing
it is timed. Each in a process of its own, one after the other; CPU time, and the most memory that
the process grew by, beyond its modules and the export of one run. Exits with 1 if ours is slower,
or needs more than a tenth of the memory.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from many_runs import write

from vellum_nb import History

SLOWER, MEMORY = 1.0, 0.1  # at most, of the peer's


def ours(history: History, target: Path, limit: int | None) -> float:
    return seconds(lambda: history.to_csv(target, progress=False, limit=limit))


def parquet(history: History, target: Path, limit: int | None) -> float:
    return seconds(lambda: history.to_parquet(target, progress=False, limit=limit))


def jsonl(history: History, target: Path, limit: int | None) -> float:
    return seconds(lambda: history.to_jsonl(target, progress=False, limit=limit))


def peer(history: History, target: Path, limit: int | None) -> float:
    frame: pd.DataFrame = history.frame(limit=limit)
    return seconds(lambda: frame.to_csv(target, index=False))


def seconds(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


KINDS = {"ours": ours, "peer": peer, "parquet": parquet, "jsonl": jsonl}


def child(kind: str, history: Path) -> None:
    """Measure one way, and print CPU seconds and MB; one run before brings in all modules."""
    with tempfile.TemporaryDirectory() as folder, History(history) as opened:
        target = Path(folder) / "out"
        KINDS[kind](opened, target, 1)
        before = most_memory()
        spent = KINDS[kind](opened, target, None)
    print(json.dumps([spent, most_memory() - before]))


def most_memory() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss is at least that of who started this process
        found = re.search(r"VmHWM:\s+(\d+)", status.read_text())
        return int(found[1]) / 1024 if found else 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(kind: str, history: Path) -> tuple[float, float]:
    command = [sys.executable, __file__, "--history", str(history), "--child", kind]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    spent, memory = json.loads(done.stdout)
    return spent, memory


def compare(history: Path, rounds: int) -> int:
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for kind in ("ours", "peer"):
            found.setdefault(kind, []).append(measured(kind, history))
    for kind in ("parquet", "jsonl"):
        found[kind] = [measured(kind, history)]
    middle = {
        kind: tuple(statistics.median(column) for column in zip(*pairs, strict=True))
        for kind, pairs in found.items()
    }
    names = {"ours": "to_csv", "peer": "DataFrame.to_csv", "parquet": "to_parquet"}
    for kind, (spent, memory) in middle.items():
        name = names.get(kind, "to_jsonl")
        print(f"{name:<18} {spent:7.2f} s CPU {memory:8.0f} MB")
    slower = middle["ours"][0] / middle["peer"][0]
    larger = middle["ours"][1] / middle["peer"][1]
    print(f"CPU time of the peer's: {slower:.2f} (target: at most {SLOWER})")
    print(f"memory of the peer's:   {larger:.3f} (target: at most {MEMORY})")
    return int(slower > SLOWER or larger > MEMORY)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--history", type=Path, help="one that there is, in place of a new one")
    parser.add_argument("--child", choices=KINDS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.history)
        return 0
    if given.history:
        return compare(given.history, given.rounds)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.db"
        write(path, given.rows)
        print(f"{given.rows:,} runs")
        return compare(path, given.rounds)


if __name__ == "__main__":
    sys.exit(main())
