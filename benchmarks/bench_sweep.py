"""A sweep's share of what the server allows, beside the official client in threads.

    python benchmarks/bench_sweep.py [--rounds 3] [--only 50/32 ...]

The limit is calls x latency / calls at once. Both sides call one loopback server in a process of
its own, and take turns; the figures are medians. `vellum_nb` is a whole `ws.sweep`: cases checked,
every run recorded in a file before it is sent and again when it has ended. The official client only
sends and reads the reply. CPU is that of the calling process, all threads together. Exits with 1
where a floor is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import slow_server
from vellum import WorkflowRequestStringInputRequest
from vellum.client import Vellum
from vellum.environment import VellumEnvironment

import vellum_nb as vnb
from vellum_nb.sweep.sweep import control_of

KEY = "bench-key-0123456789"
TEXT = "I was charged twice for one order and want the second charge back. " * 3
LOST: list[str] = []
Side = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Scene:
    """A server, how many calls at once, and the limit: of the share, or of the CPU per call."""

    latency: float
    at_once: int
    share: float | None = None
    cpu_of_official: float | None = None

    @property
    def name(self) -> str:
        """Milliseconds / calls at once."""
        return f"{self.latency * 1000:.0f}/{self.at_once}"

    @property
    def calls(self) -> int:
        """As many as take three seconds at best."""
        return round(3 * self.at_once / self.latency)


@dataclass(frozen=True)
class Figure:
    """Share of the limit and CPU of one call, of one run or the median of several."""

    share: float
    cpu_ms: float


SCENES = [
    Scene(0.25, 64, share=0.88),
    Scene(0.05, 32, share=0.80),
    Scene(0.05, 128, cpu_of_official=0.6),  # which gives 1.8 to 2.2 times its rate
]


def sweep(url: str, calls: int, at_once: int) -> None:
    cases = [{"ticket": f"{number} {TEXT}"} for number in range(calls // 2)]
    with tempfile.TemporaryDirectory() as folder:
        ws = vnb.connect(url, api_key=KEY, history=Path(folder) / "runs.db")
        done = ws.sweep(
            "w", cases, release_tags=slow_server.TAGS, concurrency=at_once, progress=False
        )
        assert control_of(done).progress().done == calls // 2 * 2
        ws.close()


def official(url: str, calls: int, at_once: int) -> None:
    place = VellumEnvironment(default=url, predict=url, documents=url)
    client = Vellum(api_key=KEY, environment=place)

    def call(number: int) -> None:
        inputs = [WorkflowRequestStringInputRequest(name="ticket", value=f"{number} {TEXT}")]
        try:
            reply = client.execute_workflow(
                inputs=inputs, workflow_deployment_name="w", release_tag="v1"
            )
        except httpx.TransportError as exc:  # from 128 threads on it loses some
            LOST.append(repr(exc))
            return
        assert reply.data.state == "FULFILLED"

    with ThreadPoolExecutor(at_once) as pool:
        for _ in pool.map(call, range(calls)):
            pass


SIDES: dict[str, Side] = {"vellum_nb": sweep, "vellum-ai in threads": official}
FEWER = {"vellum-ai in threads": 2}  # the slow side makes fewer calls


def figure(side: str, scene: Scene, url: str) -> Figure:
    calls = scene.calls // FEWER.get(side, 1)
    cpu, clock = time.process_time(), time.perf_counter()
    SIDES[side](url, calls, scene.at_once)
    spent, used = time.perf_counter() - clock, time.process_time() - cpu
    return Figure(calls * scene.latency / scene.at_once / spent, used / calls * 1000)


def measure(scene: Scene, url: str, rounds: int) -> dict[str, Figure]:
    figures: dict[str, list[Figure]] = {side: [] for side in SIDES}
    for run in SIDES.values():
        run(url, 2 * scene.at_once, scene.at_once)  # imports, and what else is made once
    for _ in range(rounds):
        for side in SIDES:
            figures[side].append(figure(side, scene, url))
    return {
        side: Figure(
            statistics.median(each.share for each in several),
            statistics.median(each.cpu_ms for each in several),
        )
        for side, several in figures.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="such as 50/32")
    options = parser.parse_args()
    missed = 0
    for scene in SCENES:
        if options.only and scene.name not in options.only:
            continue
        with slow_server.running(scene.latency) as url:
            figures = measure(scene, url, options.rounds)
        print(f"\n{scene.name}: {'share of the limit':>40}{'calls/s':>10}{'CPU ms/call':>13}")
        for side, each in figures.items():
            rate = each.share * scene.at_once / scene.latency
            print(f"  {side:<32}{each.share:>16.3f}{rate:>10.0f}{each.cpu_ms:>13.2f}")
        ours, theirs = figures.values()
        print(f"  rate / vellum-ai's: {ours.share / theirs.share:.2f}")
        if scene.share is not None:
            is_met, value = ours.share >= scene.share, ours.share
            name, limit = "share of the limit", f">= {scene.share}"
        else:
            value = ours.cpu_ms / theirs.cpu_ms
            is_met = value <= (scene.cpu_of_official or 0)
            name, limit = "CPU per call / vellum-ai's", f"<= {scene.cpu_of_official}"
        missed += not is_met
        print(f"  {'ok' if is_met else 'MISSED'}: {name} {value:.2f} ({limit})")
    print(f"\ncalls that vellum-ai lost: {len(LOST)} {LOST[:1]}")
    print(f"load average {os.getloadavg()[0]:.1f}")
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
