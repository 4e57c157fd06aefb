"""The grid of a comparison of 10,000 cases: open, filter, sort, next case.

    python benchmarks/bench_grid.py [--cases 10000]

Each step is timed from the message of the page to the answer of the kernel. Exits with 1 if one
takes longer than 200 ms, the median of several turns.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from vellum_nb import Run
from vellum_nb.comparison import Comparison, compare_runs
from vellum_nb.comparison.metrics import contains, latency_s
from vellum_nb.models import case_id
from vellum_nb.models.sweeps import SweepCase
from vellum_nb.widgets.grid import ComparisonView

FLOOR_S, TURNS = 0.2, 7
TAGS = ("v1", "v2", "v3")
CATEGORIES = ("billing", "account", "outage", "refund", "how-to")
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def compared(count: int) -> Comparison:
    """Return a comparison of three releases with expected values, labels and long replies."""
    chance = random.Random(7)
    runs, cases = [], []
    for number in range(count):
        inputs = {"ticket": f"Ticket {number}: I was charged twice, and nobody answers my mails."}
        category = chance.choice(CATEGORIES)
        labels = {"topic": category, "ticket_id": f"T-{number}"}
        id_ = case_id(inputs)
        cases.append(SweepCase(number, id_, inputs, {"category": category}, labels))
        for tag in TAGS:
            right = chance.random() < (0.9 if tag == "v2" else 0.7)
            answer = category if right else chance.choice(CATEGORIES)
            reply = (
                f"Thanks for writing. Your ticket is about {answer}; we look into it today. " * 6
            )
            runs.append(
                Run(
                    id=f"{tag}-{number}",
                    deployment="triage",
                    release_tag=tag,
                    timestamp=NOON + timedelta(seconds=number),
                    inputs=inputs,
                    case_id=id_,
                    outputs={"category": answer, "reply": reply},
                    state="FULFILLED",
                    latency_s=chance.uniform(1, 2),
                )
            )
    kinds = [contains("billing", "category"), latency_s]
    return compare_runs(runs, deployment="triage", release_tags=TAGS, cases=cases, metrics=kinds)


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


class Page:
    """The page of a grid: sends the messages of its script to the kernel."""

    def __init__(self, view: ComparisonView) -> None:
        self.view = view
        self.ids = [row["id"] for row in view.table._first["rows"]]  # noqa: SLF001
        self.query = view.table.query

    def send(self, **message: object) -> None:
        """Send one message and wait for the answer."""
        self.view.table._on_message(None, message, None)  # noqa: SLF001
        if self.view.table.error:
            sys.exit(self.view.table.error)

    def rows(self, offset: int = 0, **changes: object) -> None:
        """Request a page of rows after `changes` of the query."""
        self.query |= changes
        window = {"view": "a", "seq": 1, "offset": offset, "limit": 40}
        self.send(kind="rows", query=self.query, **window)


def timed_steps(page: Page, case: str) -> dict[str, float]:
    """Return the seconds of each step on an open grid."""
    steps: dict[str, Callable[[], object]] = {
        "filter by state": lambda: page.rows(states=["regressions"]),
        "filter by label": lambda: page.rows(states=[], labels={"topic": ["outage"]}),
        "search": lambda: page.rows(labels={}, search="ticket 77"),
        "last page": lambda: page.rows(offset=9_960, search=""),
        "sort by another metric": lambda: page.send(kind="metric", name="latency_s"),
        "next case": lambda: page.send(kind="open", id=case, release="v3"),
    }
    return {name: seconds(step) for name, step in steps.items()}


def main() -> None:
    """Print the median of each step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    comparison = compared(parser.parse_args().cases)
    print(f"figures, computed once: {seconds(lambda: str(comparison)):.2f} s")
    views: list[ComparisonView] = []
    took: dict[str, list[float]] = {}
    for turn in range(TURNS):
        opened = seconds(lambda: views.append(ComparisonView(comparison)))
        page = Page(views[-1])
        for name, value in {"open": opened, **timed_steps(page, page.ids[turn])}.items():
            took.setdefault(name, []).append(value)
        views.pop().close()
    medians = {name: statistics.median(values) for name, values in took.items()}
    for name, value in medians.items():
        sign = "ok" if value <= FLOOR_S else "MISSED"
        print(f"{sign}: {name} {1000 * value:.0f} ms (floor <= {1000 * FLOOR_S:.0f} ms)")
    sys.exit(any(value > FLOOR_S for value in medians.values()))


if __name__ == "__main__":
    main()
