"""How soon the local server is ready, what one request costs, and 64 runs of a second at once.

Each start is a fresh process, imports included. Requests go over warm connections of bare urllib3,
so that what is measured is the server; those of one execution go one after the other.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import urllib3

from vellum_nb.local import LocalServer

READY_S, CALL_MS, KERNEL_S, PROCESS_S = 1.0, 3.0, 1.6, 2.0  # floors
RUNS = 64
WAIT = b"""
import time
def wait(text: str) -> str:
    time.sleep(1)
    return text
"""
START = """
import time
began = time.perf_counter()
from vellum_nb.local import LocalServer
server = LocalServer(samples={samples}).start()
print(time.perf_counter() - began)
server.stop()
"""


def ready(*, samples: bool, starts: int) -> float:
    """Return the median seconds from nothing imported to listening."""
    command = [sys.executable, "-c", START.format(samples=samples)]
    times = [float(subprocess.check_output(command)) for _ in range(starts)]
    return statistics.median(times)


def per_request(count: int) -> tuple[float, float]:
    """Return the median and the 95th percentile of one execution, in milliseconds."""
    inputs = [{"name": "text", "type": "STRING", "value": "word " * 80}]
    body = json.dumps({"workflow_deployment_name": "echo", "inputs": inputs})
    with LocalServer() as server, urllib3.PoolManager() as pool:
        server.deploy(echo)
        headers = {"X-API-KEY": server.api_key, "Content-Type": "application/json"}
        times = []
        for _ in range(count):
            began = time.perf_counter()
            answer = pool.request(
                "POST", f"{server.url}/v1/execute-workflow", body=body, headers=headers
            )
            times.append((time.perf_counter() - began) * 1000)
            assert answer.status == 200
    warm = times[count // 10 :]
    return statistics.median(warm), statistics.quantiles(warm, n=20)[-1]


def at_once(isolation: str, rounds: int = 3) -> float:
    """Return the median seconds that 64 runs of one second at once take."""
    inputs = [{"name": "text", "type": "STRING", "value": "word"}]
    body = json.dumps({"workflow_deployment_name": "wait", "inputs": inputs})
    pool, threads = urllib3.PoolManager(maxsize=RUNS), ThreadPoolExecutor(RUNS)
    with LocalServer() as server, pool, threads:
        server.deploy({"workflow.py": WAIT}, name="wait", isolation=isolation)
        headers = {"X-API-KEY": server.api_key, "Content-Type": "application/json"}
        url = f"{server.url}/v1/execute-workflow"

        def run(_: int) -> None:
            answer = pool.request("POST", url, body=body, headers=headers)
            assert answer.json()["data"]["state"] == "FULFILLED", answer.data

        times = []
        for _ in range(1 + rounds):  # the first one opens the connections
            began = time.perf_counter()
            list(threads.map(run, range(RUNS)))
            times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def echo(text: str) -> str:
    """Give the text back."""
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--requests", type=int, default=500)
    args = parser.parse_args()
    bare = ready(samples=False, starts=args.starts)
    full = ready(samples=True, starts=args.starts)
    middle, slow = per_request(args.requests)
    kernel, process = at_once("kernel"), at_once("process")
    print(f"ready, imports included:  {bare:.2f} s   with the samples: {full:.2f} s")
    print(f"one execution:            {middle:.2f} ms  (95 %: {slow:.2f} ms)")
    print(f"{RUNS} runs of 1 s at once:    {kernel:.2f} s   with a process each: {process:.2f} s")
    good = full < READY_S and middle <= CALL_MS and kernel <= KERNEL_S and process <= PROCESS_S
    print(
        f"floors: ready < {READY_S} s, a call <= {CALL_MS} ms, {RUNS} runs <= {KERNEL_S} s, "
        f"with a process each <= {PROCESS_S} s: {'ok' if good else 'MISSED'}"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
