"""How soon the local server is ready, imports included, and what one request costs.

Each start is a fresh process. Requests go one after the other over one warm connection of bare
urllib3, so that what is measured is the server.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

import urllib3

from vellum_nb.local import LocalServer

READY_S, CALL_MS = 1.0, 3.0  # floors
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
    print(f"ready, imports included:  {bare:.2f} s   with the samples: {full:.2f} s")
    print(f"one execution:            {middle:.2f} ms  (95 %: {slow:.2f} ms)")
    good = full < READY_S and middle <= CALL_MS
    print(f"floors: ready < {READY_S} s, a call <= {CALL_MS} ms: {'ok' if good else 'MISSED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
