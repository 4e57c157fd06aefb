"""The counting server without faults, as a program; it is told how long a call takes."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "workspace"))

from counting_server import CountingServer

if __name__ == "__main__":
    server = CountingServer(latency=float(sys.argv[1]) / 1.1).start()  # 0.2 to 2 times, evenly
    print(server.url, flush=True)
    sys.stdin.read()
    server.close()
