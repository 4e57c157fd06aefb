"""What one execution costs, over a warm connection: urllib3, our client, the official client.

All three encode the same inputs and parse the same reply; ours and the official client validate
it. They take turns, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import server
import urllib3
from vellum import WorkflowRequestStringInputRequest
from vellum.client import Vellum
from vellum.environment import VellumEnvironment

from vellum_nb import Client
from vellum_nb.models import WorkflowInput

OF_URLLIB3, OF_OFFICIAL = 1.8, 0.65  # floors
TEXT = "I was charged twice for one order and want the second charge back. " * 3


def bare_urllib3(url: str) -> Callable[[], Any]:
    pool = urllib3.PoolManager()
    headers = {"X-API-KEY": "bench", "X-API-Version": "2025-07-30"}
    headers["Content-Type"] = "application/json"

    def call() -> Any:
        inputs = [{"name": "ticket", "type": "STRING", "value": TEXT}]
        body = {"inputs": inputs, "workflow_deployment_name": "w", "release_tag": "v1"}
        reply = pool.request(
            "POST", f"{url}/v1/execute-workflow", body=json.dumps(body), headers=headers
        )
        return json.loads(reply.data)["data"]["state"]

    return call


def ours(url: str) -> Callable[[], Any]:
    client = Client(api_key="bench", base_url=url)

    def call() -> Any:
        inputs = [WorkflowInput(name="ticket", type="STRING", value=TEXT)]
        reply = client.execute_workflow(inputs, workflow_deployment_name="w", release_tag="v1")
        return reply.data.state

    return call


def official(url: str) -> Callable[[], Any]:
    place = VellumEnvironment(default=url, predict=url, documents=url)
    client = Vellum(api_key="bench", environment=place)

    def call() -> Any:
        inputs = [WorkflowRequestStringInputRequest(name="ticket", value=TEXT)]
        reply = client.execute_workflow(
            inputs=inputs, workflow_deployment_name="w", release_tag="v1"
        )
        return reply.data.state

    return call


def measure(calls: dict[str, Callable[[], Any]], *, rounds: int, block: int) -> dict[str, float]:
    """Return the median microseconds of a call, measured in blocks that take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(block):
            assert call() == "FULFILLED"
    for _ in range(rounds):
        for name, call in calls.items():
            for _ in range(block):
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) * 1e6 for name, each in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--block", type=int, default=25)
    options = parser.parse_args()
    with server.running() as url:
        calls = {
            "urllib3": bare_urllib3(url),
            "vellum_nb": ours(url),
            "vellum-ai (official)": official(url),
        }
        medians = measure(calls, rounds=options.rounds, block=options.block)
    print(f"{'client':<22}{'us a call':>10}{'x urllib3':>11}")
    for name, median in medians.items():
        print(f"{name:<22}{median:>10.0f}{median / medians['urllib3']:>11.2f}")
    bare = medians["vellum_nb"] / medians["urllib3"]
    theirs = medians["vellum_nb"] / medians["vellum-ai (official)"]
    print(f"vellum_nb / urllib3: {bare:.2f} (floor <= {OF_URLLIB3})")
    print(f"vellum_nb / vellum-ai: {theirs:.2f} (floor <= {OF_OFFICIAL})")
    return int(bare > OF_URLLIB3 or theirs > OF_OFFICIAL)


if __name__ == "__main__":
    raise SystemExit(main())
