"""How long the grid of a comparison takes to open: 10,000 cases on 5 releases against 100 on 2.

Measured in Python, in one process, in turns, each time with a comparison that nothing is known of
yet: until the first rows are sent, until the figures are sent (regressions first from then on), and
what the browser asks next. Reading the runs and laying them side by side comes before, and is not
in it (`bench_compare.py` has that). Run it with ``python benchmarks/bench_grid.py``; it fails where
the first rows of the large one take twice as long, or a message is larger than 100 kB.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import vellum_nb as vnb
from vellum_nb.models import case_id
from vellum_nb.widgets.grid import ComparisonView

ROUNDS = 5
SMALL, LARGE = (100, 2), (10_000, 5)
LIMIT_KB = 100
FIRST = "opened, its first rows sent (ms)"
LABELS = ["billing", "refund"]
START = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = ["we", "will", "look", "into", "your", "invoice", "and", "send", "a", "corrected", "one"]


def made(cases: int, releases: int) -> list[vnb.Run]:
    """Return runs of about 1 kB each that differ in a few words."""
    random = Random(7)
    tags = [f"v{number + 1}" for number in range(releases)]
    runs = []
    for number in range(cases):
        inputs = {"ticket": f"ticket {number} " + "charged twice " * 20}
        case = case_id(inputs)
        words = random.choices(WORDS, k=150)
        for tag in tags:
            words[random.randrange(150)] = tag
            run = vnb.Run.model_construct(
                id=f"{tag}-{number}",
                deployment="ticket-triage",
                release_tag=tag,
                timestamp=START,
                inputs=inputs,
                case_id=case,
                state="FULFILLED",
                outputs={
                    "category": random.choice(["billing", "refund"]),
                    "reply": " ".join(words),
                },
                latency_s=random.random(),
            )
            runs.append(run)
    return runs


def compared(runs: list[vnb.Run]) -> vnb.Comparison:
    """Return a comparison of which no figure is known."""
    tags = list(dict.fromkeys(run.release_tag for run in runs))
    metric = vnb.metrics.contains("billing", "category")
    return vnb.Comparison(runs, deployment="ticket-triage", release_tags=tags, metrics=metric)


def measure(comparison: vnb.Comparison) -> dict[str, float]:
    """Return milliseconds, and kilobytes of a window, of one grid from start to end."""
    took: dict[str, float] = {}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = call()
        took[name] = 1000 * (time.perf_counter() - start)
        return result

    start = time.perf_counter()
    view = timed(FIRST, lambda: ComparisonView(comparison))
    view.wait()
    took["its figures (ms)"] = 1000 * (time.perf_counter() - start)
    table = view.table  # noqa: SLF001  (as the browser does)
    sent: list[dict[str, Any]] = []
    table.send = lambda content, buffers=None: sent.append(content)  # noqa: ARG005

    def ask(offset: int, **query: Any) -> None:
        window = {"view": "a", "seq": 1, "offset": offset, "limit": 16}
        table._handle_custom_msg({"kind": "rows", "query": query, **window}, [])  # noqa: SLF001

    timed("what is in sight next (ms)", lambda: ask(16))
    timed("the last rows (ms)", lambda: ask(len(comparison.cases) - 8))
    timed("only regressions (ms)", lambda: ask(0, states=["regressions"]))
    timed("a text that is nowhere (ms)", lambda: ask(0, search="nowhere"))
    took["largest message (kB)"] = max(len(json.dumps(each)) for each in sent) / 1000
    view.close()
    return took


def main() -> None:
    """Measure both in turn, print medians; fail where one of the promises is broken."""
    ComparisonView(compared(made(5, 2))).close()  # imports
    runs = {size: made(*size) for size in (SMALL, LARGE)}
    found: dict[tuple[int, int], list[dict[str, float]]] = {size: [] for size in runs}
    for _ in range(ROUNDS):
        for size, each in runs.items():
            found[size].append(measure(compared(each)))
    heads = [f"{cases:,} x {releases}" for cases, releases in runs]
    print(f"{'':36}{heads[0]:>12}{heads[1]:>12}")
    medians: dict[str, list[float]] = {}
    for name in found[SMALL][0]:
        medians[name] = [statistics.median(m[name] for m in found[size]) for size in runs]
        print(f"{name:36}{medians[name][0]:12.1f}{medians[name][1]:12.1f}")
    small, large = medians[FIRST]
    if large > 2 * small:
        sys.exit(f"the first rows of the large one take {large / small:.1f} times as long")
    if medians["largest message (kB)"][1] > LIMIT_KB:
        sys.exit(f"a message is larger than {LIMIT_KB} kB")


if __name__ == "__main__":
    main()
