"""How long the grid of a comparison takes to open: 10,000 cases on 5 releases against 100 on 2.

Measured in Python, in one process, in turns: what the browser waits for once the comparison's
figures are known, and what it asks next. Run it with ``python benchmarks/bench_grid.py``.
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
LABELS = ["billing", "refund"]
START = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = ["we", "will", "look", "into", "your", "invoice", "and", "send", "a", "corrected", "one"]


def compared(cases: int, releases: int) -> vnb.Comparison:
    """Return a comparison of runs of about 1 kB each that differ in a few words."""
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

    view = timed("opened, with its first rows (ms)", lambda: ComparisonView(comparison))
    table = view._table  # noqa: SLF001  (as the browser does)
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
    """Measure both in turn, print medians; fail where a message is too large."""
    ComparisonView(compared(5, 2)).close()  # imports
    comparisons = {size: compared(*size) for size in (SMALL, LARGE)}
    first: dict[tuple[int, int], float] = {}
    for size, comparison in comparisons.items():
        start = time.perf_counter()
        ComparisonView(comparison).close()
        first[size] = time.perf_counter() - start
    found: dict[tuple[int, int], list[dict[str, float]]] = {size: [] for size in comparisons}
    for _ in range(ROUNDS):
        for size, comparison in comparisons.items():
            found[size].append(measure(comparison))
    heads = [f"{cases:,} x {releases}" for cases, releases in comparisons]
    print(f"{'':36}{heads[0]:>12}{heads[1]:>12}")
    print(f"{'the figures and the grid, once (ms)':36}", end="")
    print("".join(f"{1000 * first[size]:12.0f}" for size in comparisons))
    medians: dict[str, list[float]] = {}
    for name in found[SMALL][0]:
        medians[name] = [statistics.median(m[name] for m in found[size]) for size in comparisons]
        print(f"{name:36}{medians[name][0]:12.1f}{medians[name][1]:12.1f}")
    if medians["largest message (kB)"][1] > LIMIT_KB:
        sys.exit(f"a message is larger than {LIMIT_KB} kB")


if __name__ == "__main__":
    main()
