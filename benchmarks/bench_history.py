"""Recording, reading and exporting of the history beside peers, as ratios in one run.

    python benchmarks/bench_history.py [--rows 1000000] [--only record frame page csv]

Files lie in a temporary folder, so its disk is the one that is measured. Sides take turns; a ratio
is the median of the turns. Exits with 1 where a floor is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
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

import many_runs
import pandas as pd

from vellum_nb import History, HistoryView, Run

MLFLOW = Path(__file__).parent / ".peers" / "mlflow" / "bin" / "python"
INSTALL_MLFLOW = """\
  python3 -m venv benchmarks/.peers/mlflow && benchmarks/.peers/mlflow/bin/pip install mlflow"""
REPLY = "Thanks for writing. We are sorry about the second charge and refund it today. " * 18
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
RECORDED, TURNS, PEER_RUNS, FSYNC_RUNS = 2000, 7, 200, 200
missed: list[str] = []


def report(name: str, value: float, floor: float, *, at_most: bool) -> None:
    """Print a figure beside its floor."""
    good = value <= floor if at_most else value >= floor
    sign = "<=" if at_most else ">="
    print(f"{'ok' if good else 'MISSED'}: {name} {value:.3g} (floor {sign} {floor:g})")
    if not good:
        missed.append(name)


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def started(number: int) -> Run:
    return Run(
        id=f"run-{number:07}",
        external_id=f"run-{number:07}",
        deployment=f"deployment-{number % 10}",
        release_tag=f"v{number % 3}",
        timestamp=NOON + timedelta(seconds=number),
        inputs={"ticket": REPLY, "sla_hours": number % 72, "vip": number % 2 == 0},
        case_id=f"case-{number % 1000}",
    )


def fulfilled(run: Run) -> Run:
    outputs = {"category": "billing", "priority": "high", "reply": REPLY}
    answer = {
        "state": "FULFILLED",
        "execution_id": f"exec-{run.id}",
        "outputs": outputs,
        "output_types": dict.fromkeys(outputs, "STRING"),
        "finished_at": run.timestamp,
        "latency_s": 0.25,
    }
    return run.model_copy(update=answer)


def bare_transactions(path: Path) -> float:
    """Time an insert and an update per run in bare sqlite3, the limit of any history in SQLite."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE runs (id TEXT PRIMARY KEY, state TEXT, ins TEXT, outs TEXT)")

    def work() -> None:
        for number in range(RECORDED):
            connection.execute("BEGIN IMMEDIATE")
            values = (f"run-{number:07}", "STARTED", REPLY)
            connection.execute("INSERT INTO runs (id, state, ins) VALUES (?, ?, ?)", values)
            connection.execute("COMMIT")
            connection.execute("BEGIN IMMEDIATE")
            values = ("FULFILLED", REPLY, f"run-{number:07}")
            connection.execute("UPDATE runs SET state = ?, outs = ? WHERE id = ?", values)
            connection.execute("COMMIT")

    taken = seconds(work)
    connection.close()
    return taken


def recorded_runs(path: Path, number: int = RECORDED, *, fsync: bool = False) -> float:
    runs = [started(each) for each in range(number)]
    answers = [fulfilled(run) for run in runs]
    with History(path, fsync=fsync) as history:

        def work() -> None:
            for run, answer in zip(runs, answers, strict=True):
                history.begin(run)
                history.finish(answer)

        return seconds(work)


def record(folder: Path) -> None:
    """Record runs: begun and finished, each committed."""
    pairs = [
        (bare_transactions(folder / f"bare{n}.db"), recorded_runs(folder / f"ours{n}.db"))
        for n in range(TURNS)
    ]
    ours = statistics.median(pair[1] for pair in pairs) / RECORDED
    print(f"a recorded run takes {ours * 1e6:.0f} us")
    ratio = statistics.median(ours / bare for bare, ours in pairs)
    report("a recorded run / two bare transactions", ratio, 4, at_most=True)
    durable = recorded_runs(folder / "fsync.db", FSYNC_RUNS, fsync=True) / FSYNC_RUNS
    print(f"with fsync=True, which survives a power failure: {durable * 1e6:.0f} us")
    if not MLFLOW.exists():
        print(f"NOT MEASURED, MLflow is not installed:\n{INSTALL_MLFLOW}")
        return
    script = Path(__file__).parent / "peers" / "log_mlflow.py"
    command = [str(MLFLOW), str(script), str(folder), str(PEER_RUNS), REPLY]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    theirs = float(done.stdout.split()[-2])
    print(f"MLflow takes {theirs * 1e3:.1f} ms")
    report("MLflow's time / ours", theirs / ours, 60, at_most=False)


def by_pandas(path: Path) -> pd.DataFrame:
    """Return the same runs by `read_sql` and `json_normalize`."""
    connection = sqlite3.connect(path)
    frame = pd.read_sql(
        "SELECT r.*, p.inputs, p.outputs, p.metadata FROM runs r JOIN payloads p ON p.seq = r.seq "
        "ORDER BY r.timestamp DESC, r.seq DESC",
        connection,
    )
    connection.close()
    parts = [frame]
    for kind in ("input", "output"):
        values = pd.json_normalize(frame.pop(f"{kind}s").map(json.loads).tolist())
        parts.append(values.add_prefix(f"{kind}."))
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], unit="us", utc=True)
    return pd.concat(parts, axis=1)


def frame(folder: Path) -> None:
    """Read 100,000 runs with inputs and outputs as columns."""
    for name, structured in (("texts and numbers", False), ("a text, a list, an object", True)):
        path = folder / f"frame-{structured}.db"
        many_runs.write(path, 100_000, structured=structured)
        with History(path) as history:
            assert history.frame().shape[0] == by_pandas(path).shape[0]
            pairs = [(seconds(history.frame), seconds(lambda: by_pandas(path))) for _ in range(5)]  # noqa: B023
        ours = statistics.median(pair[0] for pair in pairs)
        print(f"100,000 runs, outputs are {name}: frame() takes {ours:.2f} s")
        ratio = statistics.median(theirs / ours for ours, theirs in pairs)
        report("read_sql + json_normalize / frame()", ratio, 1.8, at_most=False)


def page(short: Path, long: Path) -> None:
    """Read the last 1,000 runs of one deployment, and open the table on a short and a long file."""
    with History(long) as history:
        history.frame(limit=1000)
        taken = [
            seconds(lambda: history.frame(deployment="deployment-3", limit=1000)) for _ in range(21)
        ]
        report("ms for the last 1,000 runs", statistics.median(taken) * 1e3, 60, at_most=True)
    times: dict[Path, list[float]] = {short: [], long: []}
    histories = {path: History(path) for path in times}
    for _ in range(30):
        for path, history in histories.items():
            begun = time.process_time()
            view = HistoryView(history, side_by_side=str)
            times[path].append(time.process_time() - begun)
            view.close()
    for history in histories.values():
        history.close()
    ratio = statistics.median(times[long]) / statistics.median(times[short])
    report("first page, long / short history", ratio, 1.5, at_most=True)


def csv(path: Path, folder: Path) -> None:
    """Write all runs as CSV, in processes of their own: CPU seconds and memory."""
    ours, theirs = (_measure_csv(side, path, folder) for side in ("ours", "pandas"))
    print(f"to_csv {ours[0]:.1f} s of CPU, DataFrame.to_csv {theirs[0]:.1f} s")
    report("CSV: CPU / DataFrame.to_csv's", ours[0] / theirs[0], 1.5, at_most=True)
    report("CSV: memory / DataFrame.to_csv's", ours[1] / theirs[1], 0.1, at_most=True)


def _measure_csv(side: str, path: Path, folder: Path) -> tuple[float, float]:
    command = [sys.executable, __file__, "--csv-child", side, str(path), str(folder / "runs.csv")]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    cpu, memory = json.loads(done.stdout)
    return cpu, memory


def csv_child(side: str, path: str, target: str) -> None:
    """Write the file once small, then whole; print CPU seconds and the growth in MB."""
    with History(path) as history:
        for limit in (1, None):
            before = _peak_memory()
            frame = history.frame(limit=limit) if side == "pandas" else None
            begun = time.process_time()
            if frame is None:
                history.to_csv(target, progress=False, limit=limit)
            else:
                frame.to_csv(target, index=False)
            cpu = time.process_time() - begun
    print(json.dumps([cpu, max(_peak_memory() - before, 1.0)]))


def _peak_memory() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss of Linux starts at that of the parent process
        found = re.search(r"VmHWM:\s+(\d+)", status.read_text())
        return int(found[1]) / 1024 if found else 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def import_time() -> None:
    """Compare the import with that of the official client, each in a new process."""
    ours, theirs = (
        min(
            seconds(lambda: subprocess.run([sys.executable, "-c", line], check=True))  # noqa: B023
            for _ in range(5)
        )
        for line in ("import vellum_nb", "import vellum")
    )
    empty = min(
        seconds(lambda: subprocess.run([sys.executable, "-c", ""], check=True)) for _ in "12345"
    )
    report("import / that of vellum-ai", (ours - empty) / (theirs - empty), 0.05, at_most=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=250_000, help="of the long history")
    parser.add_argument("--only", nargs="*", default=["record", "frame", "page", "csv", "import"])
    parser.add_argument("--csv-child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.csv_child:
        csv_child(*options.csv_child)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "record" in options.only:
            record(folder)
        if "frame" in options.only:
            frame(folder)
        if {"page", "csv"} & {*options.only}:
            short, long = folder / "short.db", folder / "long.db"
            many_runs.write(short, 1_000)
            many_runs.write(long, options.rows)
        if "page" in options.only:
            page(short, long)
        if "csv" in options.only:
            csv(long, folder)
        if "import" in options.only:
            import_time()
    print(f"load average {os.getloadavg()[0]:.1f}")
    return int(bool(missed))


if __name__ == "__main__":
    raise SystemExit(main())
