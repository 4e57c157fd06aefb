"""How long the same cases take on the same targets: a whole process of ours beside other tools'.

    python benchmarks/bench_peers.py [--rounds 3] [--cases 1000] [--only vellum-nb promptfoo ...]

1,000 cases x 2 release tags on a server that answers after 50 ms, 32 at once, nothing cached. Each
side is a process of its own, measured from its start to its end, keeps its results in a new
folder, and does so offline. The server counts the calls; the results are counted where the tool
keeps them: what is missing is told, and fails the command where it is ours. Nothing is installed
here; `HOW` says how to get the others.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import slow_server

HERE = Path(__file__).parent
PEERS = HERE / ".peers"
NODE = PEERS / "npm" / "node_modules" / ".bin" / "node"
PROMPTFOO = PEERS / "npm" / "node_modules" / "promptfoo" / "dist" / "src" / "entrypoint.js"
MLFLOW = PEERS / "mlflow" / "bin" / "python"
HOW = """\
  mkdir -p benchmarks/.peers/npm && cd benchmarks/.peers/npm && echo '{}' > package.json
  npm install --no-package-lock --no-audit --no-fund node@22.23.3 promptfoo@0.123.1
  python3 -m venv ../mlflow && ../mlflow/bin/pip install mlflow==3.17.2"""
KEY = "bench-key-0123456789"
TEXT = "I was charged twice for one order and want the second charge back. " * 3
LATENCY, AT_ONCE = 0.05, 32
LONGEST = 1200  # seconds
SHARE = 0.3
"""Of promptfoo's time, at most."""
OFFLINE = {
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "PROMPTFOO_DISABLE_UPDATE": "1",
    "PROMPTFOO_DISABLE_SHARING": "1",
    "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
    "PROMPTFOO_CACHE_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_GENAI_EVAL_MAX_WORKERS": str(AT_ONCE),
    "MLFLOW_GENAI_EVAL_PREDICT_RATE_LIMIT": "0",
    "MLFLOW_GENAI_EVAL_SKIP_TRACE_VALIDATION": "true",
    "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": str(2 * AT_ONCE),  # with 5, its default, writers give up
}


@dataclass(frozen=True)
class Job:
    """What a side is to do, and the new folder that it has for it."""

    url: str
    folder: Path
    cases: Path


@dataclass(frozen=True)
class Side:
    """One way to do it: its command, and how many results it has kept."""

    command: Callable[[Job], list[str]]
    kept: Callable[[Job], int]
    needs: Path


def ours(job: Job) -> list[str]:
    """`vellum-nb sweep`; every run is durable before it is sent and again when it has ended."""
    tags = [word for tag in slow_server.TAGS for word in ("--release-tag", tag)]
    ours_at = Path(sys.executable).with_name("vellum-nb")
    history = ["--history", str(job.folder / "runs.db"), "--concurrency", str(AT_ONCE)]
    return [str(ours_at), "sweep", "w", str(job.cases), *tags, *history]


def promptfoo(job: Job) -> list[str]:
    """`promptfoo eval` with a provider in JavaScript."""
    provider = f"file://{HERE / 'peers' / 'provider.mjs'}"
    targets = [
        {"id": provider, "label": tag, "config": {"url": job.url, "key": KEY, "releaseTag": tag}}
        for tag in slow_server.TAGS
    ]
    return _evaluated(job, targets)


def promptfoo_http(job: Job) -> list[str]:
    """`promptfoo eval` with its own HTTP provider."""
    headers = {"Content-Type": "application/json", "X-API-KEY": KEY}
    targets = []
    for tag in slow_server.TAGS:
        inputs = [{"name": "ticket", "type": "STRING", "value": "{{prompt}}"}]
        body = {"workflow_deployment_name": "w", "release_tag": tag, "inputs": inputs}
        config = {
            "url": f"{job.url}/v1/execute-workflow",
            "method": "POST",
            "headers": headers,
            "body": body,
            "transformResponse": "json.data.outputs[0].value",
        }
        targets.append({"id": "http", "label": tag, "config": config})
    return _evaluated(job, targets)


def _evaluated(job: Job, targets: list[dict[str, object]]) -> list[str]:
    config = job.folder / "promptfooconfig.json"
    told = {"prompts": ["{{ticket}}"], "providers": targets, "tests": f"file://{job.cases}"}
    config.write_text(json.dumps(told))
    options = ["--no-cache", "--no-table", "--no-share", "--no-progress-bar", "-j", str(AT_ONCE)]
    return [str(NODE), str(PROMPTFOO), "eval", "-c", str(config), *options]


def mlflow(job: Job) -> list[str]:
    """`mlflow.genai.evaluate`, once a release tag, with a local SQLite store."""
    script = HERE / "peers" / "by_mlflow.py"
    tags = slow_server.TAGS
    return [str(MLFLOW), str(script), job.url, KEY, str(job.cases), str(AT_ONCE), *tags]


def rows(name: str, sql: str) -> Callable[[Job], int]:
    """Return what counts the results in a database of the side's folder."""

    def count(job: Job) -> int:
        with sqlite3.connect(job.folder / name) as database:
            return int(database.execute(sql).fetchone()[0])

    return count


FULFILLED = rows("runs.db", "SELECT count(*) FROM runs WHERE state = 'FULFILLED'")
SUCCEEDED = rows("promptfoo.db", "SELECT count(*) FROM eval_results WHERE success")
TRACED = rows("mlflow.db", "SELECT count(*) FROM trace_info WHERE status = 'OK'")
SIDES = {
    "vellum-nb": Side(ours, FULFILLED, Path(sys.executable)),
    "promptfoo": Side(promptfoo, SUCCEEDED, PROMPTFOO),
    "promptfoo, its HTTP provider": Side(promptfoo_http, SUCCEEDED, PROMPTFOO),
    "MLflow": Side(mlflow, TRACED, MLFLOW),
}


def executed(url: str) -> int:
    """Return how many executions the server has answered."""
    with urllib.request.urlopen(f"{url}/executed", timeout=20) as reply:  # noqa: S310
        return int(json.load(reply))


def written(folder: Path, number: int) -> Path:
    """Write the cases."""
    path = folder / "cases.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["ticket"])
        writer.writerows([f"{each} {TEXT}"] for each in range(number))
    return path


@dataclass(frozen=True)
class Figure:
    """Seconds that a side took, how many of them a core worked, and how much it has lost."""

    seconds: float
    cpu: float
    lost: int


def measured(side: Side, url: str, cases: int) -> Figure:
    """Have a side do it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = Job(url, folder, written(folder, cases))
        environment = os.environ | OFFLINE
        environment |= {"VELLUM_API_URL": url, "VELLUM_API_KEY": KEY}
        environment |= {"PROMPTFOO_CONFIG_DIR": name}
        environment |= {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
        command = side.command(job)
        before, used, clock = executed(url), _cpu(), time.perf_counter()
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST,
        )
        seconds = time.perf_counter() - clock
        calls, wanted = executed(url) - before, cases * len(slow_server.TAGS)
        assert (done.returncode, calls) == (0, wanted), (
            f"{command} ended with {done.returncode} after {calls} calls, where {wanted} were to "
            f"be:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
        return Figure(seconds, _cpu() - used, wanted - side.kept(job))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--only", nargs="*", choices=list(SIDES), default=list(SIDES))
    options = parser.parse_args()
    there = {name: side for name, side in SIDES.items() if side.needs.exists()}
    if there.keys() != SIDES.keys():
        missing = ", ".join(name for name in SIDES if name not in there)
        print(f"NOT MEASURED, since not installed: {missing}\n{HOW}")
    found: dict[str, list[Figure]] = {name: [] for name in there if name in options.only}
    with slow_server.running(LATENCY) as url:
        for _ in range(options.rounds):
            for name, figures in found.items():
                figures.append(measured(there[name], url, options.cases))
                print(f"  {name}: {figures[-1].seconds:.2f} s", file=sys.stderr, flush=True)
    calls = options.cases * len(slow_server.TAGS)
    print(f"{calls:,} calls of {LATENCY * 1000:.0f} ms, {AT_ONCE} at once: ", end="")
    print(f"{calls * LATENCY / AT_ONCE:.2f} s at best; medians of {options.rounds}")
    middle = {}
    for name, figures in found.items():
        middle[name] = statistics.median(each.seconds for each in figures)
        work = statistics.median(each.cpu for each in figures)
        lost = sum(each.lost for each in figures)
        said = f"   lost {lost} of {calls * len(figures):,} results" if lost else ""
        print(f"  {name:<32}{middle[name]:8.2f} s{work:8.2f} s of CPU{said}")
        assert not lost or name != "vellum-nb"
    print(f"load average {os.getloadavg()[0]:.1f}")
    if not {"vellum-nb", "promptfoo"} <= middle.keys():
        return 0
    share = middle["vellum-nb"] / middle["promptfoo"]
    good = share <= SHARE
    print(f"{'ok' if good else 'MISSED'}: time / promptfoo's {share:.2f} (target <= {SHARE})")
    return int(not good)


if __name__ == "__main__":
    raise SystemExit(main())
