"""How soon the local server is ready, what one request costs, and 64 runs of a second at once.

Each start is a fresh process. Requests go one after the other over one warm connection of bare
urllib3, so that what is measured is the server.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import urllib3

from vellum_nb.local import LocalServer

TARGET = 1.0  # seconds until ready
AT_ONCE = 64
AT_ONCE_TARGETS = {"kernel": 1.6, "process": 2.0}  # seconds for 64 runs of one second
NAP = "import time\ndef nap(text: str) -> str:\n    time.sleep(1)\n    return text\n"
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


def at_once(isolation: str) -> float:
    """Return the seconds that 64 runs of one second take, the best of three."""
    inputs = [{"name": "text", "type": "STRING", "value": "word"}]
    body = json.dumps({"workflow_deployment_name": "nap", "inputs": inputs})
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalServer(concurrency=AT_ONCE) as server,
        urllib3.PoolManager(maxsize=AT_ONCE) as pool,
        ThreadPoolExecutor(AT_ONCE) as threads,
    ):
        file = Path(folder, "nap.py")
        file.write_text(NAP)
        server.deploy(file, isolation=isolation)
        headers = {"X-API-KEY": server.api_key, "Content-Type": "application/json"}

        def call(_: int) -> int:
            url = f"{server.url}/v1/execute-workflow"
            return pool.request("POST", url, body=body, headers=headers).status

        times = []
        for _ in range(4):  # the first one starts what the others find
            began = time.perf_counter()
            assert set(threads.map(call, range(AT_ONCE))) == {200}
            times.append(time.perf_counter() - began)
    return min(times[1:])


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
    results = {f"ready in less than {TARGET} s": max(bare, full) < TARGET}
    for isolation, target in AT_ONCE_TARGETS.items():
        seconds = at_once(isolation)
        print(f"64 runs of a second at once, {isolation}: {seconds:.2f} s")
        results[f"64 at once, {isolation}, in {target} s"] = seconds <= target
    for name, is_met in results.items():
        print(f"target: {name}: {'met' if is_met else 'MISSED'}")
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
