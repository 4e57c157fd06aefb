"""How near a sweep comes to what the server allows, beside other ways to make the same calls.

    python benchmarks/bench_sweep.py [--rounds 3] [--only 50/32 ...]

The limit is calls x latency / calls at once. All sides call one loopback server, which runs in a
process of its own, and take turns; the figures are medians. `vellum_nb` is a whole `ws.sweep`:
cases checked, every run recorded in a file before it is sent and again when it has ended. The
others only send, and read the reply. CPU is that of the calling process, all threads together.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi
import httpx
import requests
import slow_server
from vellum import WorkflowRequestStringInputRequest
from vellum.client import AsyncVellum, Vellum
from vellum.environment import VellumEnvironment
from vellum_nb.history.plans.sweeping import Sweeps

import vellum_nb as vnb

KEY = "bench-key-0123456789"
TEXT = "I was charged twice for one order and want the second charge back. " * 3
LOST: list[str] = []
Side = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Scene:
    """A server, and how many calls at once."""

    latency: float
    at_once: int
    tls: bool = False

    @property
    def name(self) -> str:
        """Milliseconds / calls at once."""
        return f"{self.latency * 1000:.0f}/{self.at_once}{' https' if self.tls else ''}"

    def limit(self, calls: int) -> float:
        """Return the seconds that so many calls take at best."""
        return calls * self.latency / self.at_once

    @property
    def calls(self) -> int:
        """Three seconds' worth."""
        return round(3 * self.at_once / self.latency)


@dataclass(frozen=True)
class Figure:
    """What one run of a side came to, or the median of several."""

    share: float
    cpu_ms: float


SCENES = [Scene(0.25, 64), Scene(0.05, 32), Scene(0.05, 128), Scene(0.05, 32, tls=True)]


def swept(url: str, calls: int, at_once: int | None) -> None:
    cases = [{"ticket": f"{number} {TEXT}"} for number in range(calls // 2)]
    with tempfile.TemporaryDirectory() as folder:
        ws = vnb.connect(url, api_key=KEY, history=Path(folder) / "runs.db")
        sweep = ws.sweep(
            "w", cases, release_tags=slow_server.TAGS, concurrency=at_once, progress=False
        )
        assert sweep.progress().done == calls // 2 * 2
        ws.close()


def adaptive(url: str, calls: int, at_once: int) -> None:  # noqa: ARG001
    swept(url, calls, None)


def unrecorded(url: str, calls: int, at_once: int) -> None:
    """Sweep without rows: what is left is what the history costs."""
    before = Sweeps.record
    Sweeps.record = lambda *_args, **_options: None  # type: ignore[method-assign]
    try:
        swept(url, calls, at_once)
    finally:
        Sweeps.record = before  # type: ignore[method-assign]


def body_of(number: int) -> dict[str, Any]:
    inputs = [{"name": "ticket", "type": "STRING", "value": f"{number} {TEXT}"}]
    return {"workflow_deployment_name": "w", "release_tag": "v1", "inputs": inputs}


def posted(url: str, calls: int, at_once: int) -> None:
    """`requests.post` in a pool, as documentation shows it."""

    def call(number: int) -> None:
        reply = requests.post(
            f"{url}/v1/execute-workflow",
            json=body_of(number),
            headers={"X-API-KEY": KEY},
            timeout=60,
        )
        assert reply.json()["data"]["state"] == "FULFILLED"

    pooled(call, calls, at_once)


def by_session(url: str, calls: int, at_once: int) -> None:
    """One `requests.Session` in a pool, with as many connections."""
    with requests.Session() as session:
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=at_once)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        session.headers["X-API-KEY"] = KEY

        def call(number: int) -> None:
            reply = session.post(f"{url}/v1/execute-workflow", json=body_of(number), timeout=60)
            assert reply.json()["data"]["state"] == "FULFILLED"

        pooled(call, calls, at_once)


def official(url: str, calls: int, at_once: int) -> None:
    client = Vellum(api_key=KEY, environment=environment(url))

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

    pooled(call, calls, at_once)


def official_async(url: str, calls: int, at_once: int) -> None:
    async def main() -> None:
        client = AsyncVellum(api_key=KEY, environment=environment(url))
        turn = asyncio.Semaphore(at_once)

        async def call(number: int) -> None:
            text = f"{number} {TEXT}"
            async with turn:
                reply = await client.execute_workflow(
                    inputs=[WorkflowRequestStringInputRequest(name="ticket", value=text)],
                    workflow_deployment_name="w",
                    release_tag="v1",
                )
            assert reply.data.state == "FULFILLED"

        await asyncio.gather(*map(call, range(calls)))

    asyncio.run(main())


def environment(url: str) -> VellumEnvironment:
    return VellumEnvironment(default=url, predict=url, documents=url)


def pooled(call: Callable[[int], None], calls: int, at_once: int) -> None:
    with ThreadPoolExecutor(at_once) as pool:
        for _ in pool.map(call, range(calls)):
            pass


ADAPTIVE = "vellum_nb, adaptive, up to 128"
SIDES: dict[str, Side] = {
    "vellum_nb": swept,
    ADAPTIVE: adaptive,
    "vellum_nb, no history": unrecorded,
    "requests.Session in a pool": by_session,
    "requests.post in a pool": posted,
    "vellum-ai in a pool": official,
    "AsyncVellum": official_async,
}
FEWER = {"requests.post in a pool": 3, "vellum-ai in a pool": 2, "AsyncVellum": 4}
"""Slow sides make so many times fewer calls, lest they take the afternoon."""


def figure(side: str, scene: Scene, url: str) -> Figure:
    calls = scene.calls // FEWER.get(side, 1)
    cpu, clock = time.process_time(), time.perf_counter()
    SIDES[side](url, calls, scene.at_once)
    spent, used = time.perf_counter() - clock, time.process_time() - cpu
    return Figure(scene.limit(calls) / spent, used / calls * 1000)


def measured(scene: Scene, url: str, rounds: int) -> dict[str, Figure]:
    found: dict[str, list[Figure]] = {side: [] for side in SIDES}
    for side, run in SIDES.items():
        run(url, 2 * scene.at_once, scene.at_once)  # imports, and what else is made once
        assert found[side] == []
    for _ in range(rounds):
        for side in SIDES:
            found[side].append(figure(side, scene, url))
    return {
        side: Figure(
            statistics.median(each.share for each in figures),
            statistics.median(each.cpu_ms for each in figures),
        )
        for side, figures in found.items()
    }


@contextmanager
def server(scene: Scene) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        certificate = slow_server.certified(Path(folder)) if scene.tls else None
        names = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
        if certificate is not None:
            bundle = Path(folder) / "all.pem"  # as long as where a company adds its own
            bundle.write_text(Path(certifi.where()).read_text() + certificate.read_text())
            os.environ.update(dict.fromkeys(names, str(bundle)))
        try:
            with slow_server.running(scene.latency, certificate) as url:
                yield url
        finally:
            for name in names:
                os.environ.pop(name, None)


def targets(scene: Scene, found: dict[str, Figure]) -> list[tuple[str, float, str, float]]:
    """Return name, value, ``>=`` or ``<=``, and target."""
    ours, bare = found["vellum_nb"], found["vellum_nb, no history"]
    cost = ("the history's share of a sweep", 1 - ours.share / bare.share, "<=", 0.05)
    cpu = ("CPU a call, ms", ours.cpu_ms, "<=", 1.0)
    if scene.tls:
        post = found["requests.post in a pool"]
        return [("time / that of requests.post", post.share / ours.share, "<=", 0.35), cpu]
    if scene.at_once == 128:
        theirs = found["vellum-ai in a pool"]
        return [("calls a second / vellum-ai's", ours.share / theirs.share, ">=", 2.5), cpu]
    least = 0.93 if scene.latency > 0.1 else 0.90
    return [("share of the limit", ours.share, ">=", least), cost, cpu]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="such as 50/32 or '50/32 https'")
    options = parser.parse_args()
    missed = 0
    for scene in SCENES:
        if options.only and scene.name not in options.only:
            continue
        with server(scene) as url:
            found = measured(scene, url, options.rounds)
        print(f"\n{scene.name}: {'share of the limit':>40}{'calls/s':>10}{'CPU ms/call':>13}")
        for side, each in found.items():
            rate = each.share * scene.at_once / scene.latency
            share = each.share if side != ADAPTIVE else each.share * scene.at_once / 128
            print(f"  {side:<32}{share:>16.3f}{rate:>10.0f}{each.cpu_ms:>13.2f}")
        for name, value, sign, target in targets(scene, found):
            good = value >= target if sign == ">=" else value <= target
            missed += not good
            print(f"  {'ok' if good else 'MISSED'}: {name} {value:.2f} (target {sign} {target})")
    print(f"\ncalls that vellum-ai lost: {len(LOST)} {LOST[:1]}")
    print(f"load average {os.getloadavg()[0]:.1f}")
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
