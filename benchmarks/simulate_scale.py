"""The figures of docs/scale.md: small things measured here, ten million executions simulated.

    python benchmarks/simulate_scale.py [--rows 10000 100000] [--no-dask]

Measured: what a history grows by, how fast it takes runs and is read, what one process sends to a
real server, with and without a Dask cluster. Simulated, with seeded dice: how long ten million
executions take in several processes against one server with limits, while workers and processes
die.
"""

from __future__ import annotations

import argparse
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Executor
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd  # noqa: F401  (loading it is no part of what is timed)

import vellum_nb as vnb
from vellum_nb.history import History
from vellum_nb.models import Run
from vellum_nb.models.sweeps import SweepCase, SweepRecord
from vellum_nb.sweep.table import sweeps_frame

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "workspace"))

from counting_server import KEY
from scale_model import Simulation, World

MANY = 10_000_000
BATCH = 64  # runs that a turn of the driver begins and completes at 128 calls at once
TICKET = "I was charged twice for March, and nobody answers my mails. Please look into it. " * 6
REPLY = "Thanks for writing. We are sorry about the second charge and refund it today. " * 9
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def run_of(number: int, sweep: str) -> Run:
    return Run(
        id=f"{number:08}-0000-5000-8000-000000000000",
        external_id=f"{number:08}-0000-5000-8000-000000000000",
        deployment="ticket-triage",
        release_tag=f"v{number % 2 + 1}",
        release_id=f"6d1c2b3a-0000-4000-8000-00000000000{number % 2}",
        timestamp=NOON + timedelta(seconds=number / 100),
        inputs={"ticket": f"{number // 2} {TICKET}", "vip": number % 4 < 2},
        case_id=f"{number // 2:064x}",
        sweep_id=sweep,
    )


def ended(run: Run) -> Run:
    outputs = {"category": "billing", "priority": "high", "reply": REPLY}
    how = {"state": "FULFILLED", "execution_id": run.id[::-1], "outputs": outputs}
    how |= {"output_types": dict.fromkeys(outputs, "STRING"), "latency_s": 2.0}
    return run.model_copy(update={**how, "finished_at": run.timestamp + timedelta(seconds=2)})


def timed(call, clock=time.perf_counter) -> float:
    began = clock()
    call()
    return clock() - began


def cpu(call) -> float:
    """Return the CPU seconds of `call`, which other programs on the machine change little."""
    return timed(call, time.process_time)


def recorded(history: History, rows: int, sweep: str) -> None:
    """Record runs as a sweep does: each turn completes one batch and begins the next."""
    before: list[Run] = []
    for start in range(0, rows, BATCH):
        batch = [run_of(n, sweep) for n in range(start, min(rows, start + BATCH))]
        history.sweeps.record(begun=batch, ended=[ended(run) for run in before])
        before = batch
    history.sweeps.record(ended=[ended(run) for run in before])


def planned(history: History, rows: int) -> str:
    record = SweepRecord(
        id="5" * 32,
        signature="s",
        deployment="ticket-triage",
        release_tags=("v1", "v2"),
        repeats=1,
        cases=rows // 2,
        created=NOON,
    )
    cases = (
        SweepCase(n, f"{n:064x}", inputs={"ticket": f"{n} {TICKET}", "vip": True})
        for n in range(rows // 2)
    )
    history.sweeps.add(record, cases)
    return record.id


def measure_history(rows: int) -> tuple[float, float]:
    """Print a row of what a history of so many runs costs; return bytes a run, of plan and rows."""
    with tempfile.TemporaryDirectory() as folder, History(Path(folder) / "runs.db") as history:
        path = Path(folder)
        plan = cpu(lambda: planned(history, rows))
        plan_size = size_of(path) / rows
        took = cpu(lambda: recorded(history, rows, "5" * 32))
        size = size_of(path) / rows
        states = cpu(lambda: history.sweeps.states("5" * 32))
        table = cpu(lambda: sweeps_frame(history.sweeps))
        page = cpu(lambda: history.frame(limit=1000))
        frame = cpu(lambda: history.sweeps.frame("5" * 32)) if rows <= 300_000 else float("nan")
    print(
        f"| {rows:,} | {size:,.0f} (plan {plan_size:,.0f}) | {rows / took:,.0f} | {plan:.2f} "
        f"| {states:.2f} | {table:.2f} | {page:.2f} | {frame:.1f} |",
        flush=True,
    )
    return size, rows / took


def measure_merge(rows: int = 10_000) -> None:
    """Print how fast the history of one process is taken over by another."""
    with (
        tempfile.TemporaryDirectory() as folder,
        History(Path(folder) / "one.db") as one,
        History(Path(folder) / "all.db") as whole,
    ):
        recorded(one, rows, planned(one, rows))
        took = cpu(lambda: whole.merge(one.runs()))
        again = whole.merge(one.runs(limit=100))
        assert whole.count() == rows, "runs were lost, or doubled"
    print(f"\n{rows:,} runs merged into another history: {rows / took:,.0f} a CPU second; {again}")


def size_of(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "runs.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # as when the history is closed
    return sum(each.stat().st_size for each in folder.iterdir())


def measure_rate(url: str, calls: int, at_once: int, executor: Executor | None = None) -> None:
    cases = [{"text": str(number)} for number in range(calls)]
    with (
        tempfile.TemporaryDirectory() as folder,
        vnb.connect(url, api_key=KEY, history=Path(folder) / "runs.db") as ws,
    ):
        options = {"concurrency": at_once, "progress": False, "executor": executor}
        spent = time.process_time()
        took = timed(lambda: ws.sweep("count", cases, **options))
        spent = (time.process_time() - spent) / calls
    where = "threads of one process" if executor is None else "Dask, 2 workers of 32 threads"
    print(f"| {where} | {at_once} | {calls / took:,.0f} | {spent * 1e3:.2f} |", flush=True)


def measure_rates(*, dask: bool) -> None:
    program = [sys.executable, Path(__file__).parent / "serve_counting.py", "0.05"]
    with ExitStack() as stack:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        server = stack.enter_context(subprocess.Popen(program, **pipes))
        url = server.stdout.readline().strip()
        for at_once in (32, 64, 128):
            measure_rate(url, 1_500, at_once)
        if dask:
            from distributed import Client, LocalCluster

            options = {"n_workers": 2, "threads_per_worker": 32, "dashboard_address": "127.0.0.1:0"}
            cluster = stack.enter_context(LocalCluster(host="127.0.0.1", **options))
            client = stack.enter_context(Client(cluster))
            for at_once in (32, 64):
                measure_rate(url, 1_000, at_once, client.get_executor())
        server.stdin.close()


WORLD = World(MANY, processes=8)
WHAT_IFS = [
    ("1 process", replace(WORLD, processes=1)),
    ("1 process, 512 at once", replace(WORLD, processes=1, at_once=512)),
    ("8 processes", WORLD),
    ("8 processes, answers in 10 s", replace(WORLD, latency=10.0)),
    ("8 processes, at most 100 a second", replace(WORLD, limit=100.0)),
    ("8 processes, at most 400 a second", replace(WORLD, limit=400.0)),
    ("8 processes, server slows above 400 at once", replace(WORLD, capacity=400.0)),
    ("32 processes", replace(WORLD, processes=32)),
]


def what_if(name: str, world: World, calls: int) -> None:
    share = Simulation(replace(world, calls=calls)).run()
    rate = calls / share.now
    print(
        f"| {name} | {rate:,.0f} | {MANY / rate / 3600:,.1f} | {share.most:,} "
        f"| {share.busy / share.sent:.2%} | {share.found / calls:.3%} |",
        flush=True,
    )


def whole(world: World) -> None:
    began = time.perf_counter()
    done = Simulation(world).run()
    print(f"Ten million, {world.processes} processes, at most {world.limit:.0f} a second:")
    print(f"- {done.now / 3600:.1f} h, {world.calls / done.now:.0f} a second on average")
    print(f"- {done.sent:,} requests sent, {done.busy:,} of them refused with 429")
    print(f"- {done.deaths} workers and {done.crashes} processes lost on the way")
    print(f"- {done.found:,} answers looked up, {done.executed:,} executions")
    print(f"- simulated in {time.perf_counter() - began:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--no-dask", action="store_true")
    parser.add_argument("--calls", type=int, default=400_000, help="of each what-if")
    told = parser.parse_args()
    print("Measured: a history\n")
    print(
        "| runs | bytes a run | recorded a CPU s | plan, CPU s | states, s | ws.sweeps(), s "
        "| frame(limit=1000), s | sweep.frame(), s |\n|---|---|---|---|---|---|---|---|"
    )
    sizes = [measure_history(rows)[0] for rows in told.rows]
    if sizes:
        print(f"\n{MANY:,} runs: {sizes[-1] * MANY / 1e9:,.1f} GB\n")
    measure_merge()
    print("\nMeasured: calls of 50 ms\n")
    print("| calls made by | at once | calls/s | own CPU, ms a call |\n|---|---|---|---|")
    measure_rates(dask=not told.no_dask)
    print("\nSimulated: answers in 2 s, up to 128 at once in each process\n")
    print(
        "| | calls/s | hours for ten million | most at once | refused (429) | looked up |\n"
        "|---|---|---|---|---|---|"
    )
    for name, world in WHAT_IFS:
        what_if(name, world, told.calls)
    print()
    whole(replace(WORLD, limit=400.0))


if __name__ == "__main__":
    main()
