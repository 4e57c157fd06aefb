"""What the history costs: recording, reading, exporting, memory, beside others in the same run.

    python benchmarks/bench_history.py [--rows 1000000] [--file PATH] [--only recording ...]

Files lie in a temporary folder, so its disk is the one that is measured; `--file` takes a history
that `many_runs.py` wrote. Sides take turns, and ratios are the medians of the turns. What is not
installed is named and not measured; `HOW` says how to get it. Exits with 1 where a target is
missed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bench_export
import many_runs
import pandas as pd

from vellum_nb import History
from vellum_nb.models import Run

HERE = Path(__file__).parent
PEERS = HERE / ".peers"
HOW = """\
  mkdir -p benchmarks/.peers && cd benchmarks/.peers
  python3 -m venv mlflow && mlflow/bin/pip install mlflow==3.17.2
  python3 -m venv llm && llm/bin/pip install llm==0.36"""
REPLY = "Thanks for writing. We are sorry about the second charge and refund it today. " * 18
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
APPENDS, TURNS, PEER_RUNS = 2000, 7, 200
BARE, MLFLOW, NORMALIZE, LAST_MS, MEMORY = 2.5, 30, 4.0, 60.0, 2.5
"""The targets: at most, at least, at least, at most, at most."""
GROWTH = """
import re, sys
from pathlib import Path
from vellum_nb import History
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
if sys.argv[3] == "sqlite3":
    sys.modules["pyarrow"] = sys.modules["adbc_driver_sqlite"] = None
with History(sys.argv[1]) as history:
    history.frame(limit=10)
    before = peak()
    frame = history.frame(limit=int(sys.argv[2]))
print(peak() - before, frame.memory_usage(deep=True).sum())
"""
missed: list[str] = []


def told(name: str, value: float, target: float, *, most: bool = False) -> None:
    """Print a figure beside its target."""
    good = value <= target if most else value >= target
    sign = "<=" if most else ">="
    print(f"{'ok' if good else 'MISSED'}: {name} {value:.2f} (target {sign} {target:g})")
    if not good:
        missed.append(name)


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


def spent(call: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that a call takes, and how many a core worked, children included."""
    started, used = time.perf_counter(), _cpu()
    call()
    return time.perf_counter() - started, _cpu() - used


def _cpu() -> float:
    both = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(each.ru_utime + each.ru_stime for each in both)


def bare(path: Path) -> tuple[float, float]:
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

    taken = spent(work)
    connection.close()
    return taken


def ours(path: Path) -> tuple[float, float]:
    runs = [run_of(number) for number in range(APPENDS)]
    ends = [ended(run) for run in runs]
    with History(path) as history:

        def work() -> None:
            for run, end in zip(runs, ends, strict=True):
                history.begin(run)
                history.finish(end)

        return spent(work)


def peer(name: str, folder: Path, text: str) -> list[float] | None:
    """Return what a peer's script prints, None where the peer is not installed."""
    python = PEERS / name / "bin" / "python"
    if not python.exists():
        print(f"NOT MEASURED, since not installed: {name}\n{HOW}")
        return None
    command = [str(python), str(HERE / "peers" / f"log_{name}.py"), str(folder), str(PEER_RUNS)]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "LLM_USER_PATH": str(folder)}
    done = subprocess.run(
        [*command, text], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    return [float(word) for word in done.stdout.split()[-2:]]


def recording(folder: Path) -> None:
    """Record runs, begun and finished, durably."""
    pairs = [(bare(folder / f"bare{n}.db"), ours(folder / f"ours{n}.db")) for n in range(TURNS)]
    (limit, limit_cpu), (taken, cpu) = (
        tuple(statistics.median(column) / APPENDS for column in zip(*side, strict=True))
        for side in zip(*pairs, strict=True)
    )
    print(f"a recorded run {taken * 1e6:.0f} us (a core {cpu * 1e6:.0f})", end=", ")
    print(f"two bare transactions {limit * 1e6:.0f} us (a core {limit_cpu * 1e6:.0f})")
    ratios = [statistics.median(b[at] / a[at] for a, b in pairs) for at in (0, 1)]
    print(f"in seconds of a core {ratios[1]:.2f} x the bare ones")
    told("a recorded run / two bare transactions", ratios[0], BARE, most=True)
    if answer := peer("llm", folder, REPLY):
        print(f"simonw/llm's log {answer[-1] / taken:.0f} x ours, {answer[-1] * 1e3:.1f} ms")
    if answer := peer("mlflow", folder, REPLY):
        print(f"MLflow's log {answer[0] * 1e3:.1f} ms; search_runs of {PEER_RUNS} runs", end=" ")
        print(f"{answer[1] / PEER_RUNS * 1e6:.0f} us a run")
        told("rate of recording / MLflow's", answer[0] / taken, MLFLOW)


def by_pandas(path: Path) -> pd.DataFrame:
    """Return the same runs by `read_sql` and `json_normalize`."""
    connection = sqlite3.connect(path)
    frame = pd.read_sql(
        "SELECT r.*, p.inputs, p.outputs, p.metadata FROM runs r JOIN payloads p ON p.seq = r.seq "
        "ORDER BY r.timestamp DESC, r.seq DESC",
        connection,
    )
    connection.close()
    return expanded(frame)


def expanded(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows of the database with inputs and outputs as columns, by `json_normalize`."""
    parts = [frame]
    for room in ("input", "output"):
        values = pd.json_normalize(frame.pop(f"{room}s").map(json.loads).tolist())
        parts.append(values.add_prefix(f"{room}."))
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], unit="us", utc=True)
    return pd.concat(parts, axis=1)


def expanding(file: Path, name: str) -> None:
    """Read runs with inputs and outputs as columns; `name` says what the outputs are."""
    with History(file) as history:
        assert history.frame().shape[0] == by_pandas(file).shape[0]
        pairs = [(spent(history.frame), spent(lambda: by_pandas(file))) for _ in range(TURNS)]
    ours_s, theirs = (
        statistics.median(each[0] for each in side) for side in zip(*pairs, strict=True)
    )
    cpu = statistics.median(b[1] / a[1] for a, b in pairs)
    print(f"outputs: {name}")
    print(f"frame() {ours_s:.2f} s, read_sql + json_normalize {theirs:.2f} s", end="; ")
    print(f"in seconds of cores {cpu:.1f} x")
    told(
        "read_sql + json_normalize / frame()",
        statistics.median(b[0] / a[0] for a, b in pairs),
        NORMALIZE,
    )


def reading(folder: Path, file: Path, rows: int) -> None:
    """Read 100,000 runs whole, and the last thousand of one deployment among all."""
    smaller = min(rows, 100_000)
    for name, structured in (("texts and numbers", False), ("a text, a list, an object", True)):
        path = folder / f"smaller-{structured}.db"
        many_runs.write(path, smaller, structured=structured)
        expanding(path, name)
        memory(path, smaller)
    with History(file) as history:
        history.frame(limit=1000)
        taken = [
            spent(lambda: history.frame(deployment="deployment-3", limit=1000)) for _ in range(21)
        ]
        wall, cpu = (statistics.median(column) * 1e3 for column in zip(*taken, strict=True))
        print(f"the last 1,000 of one deployment: {wall:.0f} ms, a core {cpu:.0f} ms")
        told(f"ms for the last 1,000 of {rows:,}", wall, LAST_MS, most=True)


def exporting(file: Path) -> None:
    """Write all runs as CSV."""
    if bench_export.compare(file, rounds=1):
        missed.append("CSV")


def memory(file: Path, rows: int) -> None:
    """Hold how much a process grows while it loads a frame against what the frame holds."""
    for way in ("adbc", "sqlite3"):
        command = [sys.executable, "-c", GROWTH, str(file), str(rows), way]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        growth, data = map(int, done.stdout.split())
        print(f"{rows:,} runs through {way}: {data / 2**20:.0f} MiB", end=", ")
        print(f"the process grew {growth / 2**20:.0f} MiB")
        told(f"growth of the process / the frame, through {way},", growth / data, MEMORY, most=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--only", nargs="*", default=["recording", "reading", "exporting"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "recording" in options.only:
            recording(folder)
        file = options.file or folder / "many.db"
        if not file.exists() and {"reading", "exporting"} & {*options.only}:
            many_runs.write(file, options.rows)
        if "reading" in options.only:
            reading(folder, file, options.rows)
        if "exporting" in options.only:
            exporting(file)
    print(f"load average {os.getloadavg()[0]:.1f}")
    return int(bool(missed))


if __name__ == "__main__":
    raise SystemExit(main())
