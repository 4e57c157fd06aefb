"""How long a sweep takes whose answers get lost, against a limit.

    python benchmarks/bench_lost_answers.py

300 runs of 20 ms; the connection breaks after 15 % of the requests, which are executed. With the
timeouts that a workspace has by default, the sweep has to end within 20 seconds, and every run has
to be executed exactly once. Exits with 1 otherwise.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import vellum_nb as vnb

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "workspace"))

from counting_server import KEY, CountingServer, check_all_once

CASES = [{"text": f"text {number}"} for number in range(300)]
LIMIT = 20.0  # seconds


def main() -> int:
    server = CountingServer(latency=0.018).start()
    server.faults = {"reset after": 0.15}
    with (
        tempfile.TemporaryDirectory() as folder,
        vnb.connect(server.url, api_key=KEY, history=Path(folder) / "runs.db") as ws,
    ):
        began = time.perf_counter()
        sweep = ws.sweep("count", CASES, release_tags=["v1"], progress=False)
        spent = time.perf_counter() - began
        check_all_once(server, sweep, CASES)
    server.close()
    verdict = "ok" if spent <= LIMIT else "MISSED"
    print(f"{verdict}: 300 runs, 15 % of the answers lost: {spent:.1f} s (limit {LIMIT:.0f} s)")
    return int(spent > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
