"""How quickly the history table opens, sorts and searches: a thousand runs and a million.

Seconds of CPU of this process, in turns: from the table's making, or the page's question, to the
message that answers it. Exact counts, which come later, are waited for in between. Before that,
the first searches and the first sorts of the million, by the clock: what is derived from it is
dropped before each, and each comes a time when the system has forgotten the file, where it lets us.
Run it with ``python benchmarks/bench_table.py``; making the million takes a minute, so ``--million
FILE`` uses one that is there (it is written to). ``--only first`` and ``--only next`` leave out the
other half.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import many_runs

from vellum_nb import History, HistoryView

SHORT, LONG = 1_000, 1_000_000
MOST_RATIO, MOST_S, MOST_KB = 1.3, 2.0, 100
FIRSTS: dict[str, dict[str, Any]] = {
    "sorted by output.confidence": {"order_by": "output.confidence"},
    "sorted by output.reply": {"order_by": "output.reply"},
    "sorted by input.ticket": {"order_by": "input.ticket"},
    "sorted by latency_s": {"order_by": "latency_s"},
    "searched: nine of ten runs": {"search": "refund"},
    "searched: a phrase": {"search": '"refund policy"'},
    "searched: nowhere": {"search": "nobody wrote this"},
    "searched: 11 runs of the million": {"search": "customer 77777"},
}
DERIVED = ("search_words", "search_due", "sort_values", "sort_due")
FIRST = "table made, first window"
QUESTIONS: dict[str, dict[str, Any]] = {
    "what is in sight": {},
    "sorted by latency_s": {"order_by": "latency_s"},
    "sorted by output.confidence": {"order_by": "output.confidence"},
    "sorted by input.ticket": {"order_by": "input.ticket", "descending": False},
    "searched: 11 runs of the million": {"search": "customer 77777"},
    "searched: a phrase": {"search": '"refund policy"'},
    "searched: nine of ten runs": {"search": "refund"},
    "searched: nowhere": {"search": "nobody wrote this"},
    "the last rows": {"offset": "end"},
    "the last rows by latency_s": {"order_by": "latency_s", "offset": "end"},
}


class Page:
    """Asks a table as the browser does, and waits for the answer."""

    def __init__(self, view: HistoryView) -> None:
        self.view, self.sizes = view, [0.0]
        self.answered, self.whole = threading.Event(), threading.Event()
        view._answers._send = self._hear  # noqa: SLF001  (in the browser's place)

    def _hear(self, content: dict[str, Any]) -> None:
        self.sizes.append(len(json.dumps(content, ensure_ascii=False).encode()) / 1000)
        if content["kind"] == "rows":
            self.answered.set()
            if content["reach"] is None:
                self.whole.set()

    def ask(self, **content: Any) -> None:
        """Send a question; return when its answer is there."""
        self.answered.clear()
        self.whole.clear()
        usual = {"search": "", "order_by": "timestamp", "descending": True, "offset": 0}
        message = {"kind": "rows", "view": "a", "seq": 1, "limit": 40, **usual, **content}
        self.view._handle_custom_msg(message, [])  # noqa: SLF001  (as the browser does)
        if not self.answered.wait(120):
            sys.exit(f"no answer: {content} {self.view.error}")


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return how many seconds of CPU a call took, and its result."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def idle(view: HistoryView) -> None:
    """Wait until nothing is counted or read any more."""
    view._answers.wait(600)  # noqa: SLF001  (nobody else has to wait)


def measure(history: History, found: dict[str, list[float]]) -> float:
    """Add the seconds of each step of one table; return the kilobytes of its largest message."""
    took, view = timed(lambda: HistoryView(history, side_by_side=str))
    found.setdefault(FIRST, []).append(took)
    idle(view)
    page, last = Page(view), history.count() - 20
    for name, question in QUESTIONS.items():
        offset = last if question.get("offset") == "end" else 0
        took, _ = timed(lambda: page.ask(**question | {"offset": offset}))  # noqa: B023
        found.setdefault(name, []).append(took)
        idle(view)
    view.close()
    return max(page.sizes)


def forget_files() -> bool:
    """Have the system forget what it holds of files; return whether we may ask for that."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def measure_firsts(history: History) -> bool:
    """Print what the first search and the first sort of a history take; return whether too much."""
    slow = False
    for name, question in FIRSTS.items():
        for place in ("on the disk", "in memory"):
            with history._store.write() as connection:  # noqa: SLF001  (nobody else wants this)
                for table in DERIVED:
                    connection.execute(f"DROP TABLE IF EXISTS {table}")
                left = "DELETE FROM settings WHERE name = 'search' OR name LIKE 'sort:%'"
                connection.execute(left)
            view = HistoryView(history, side_by_side=str)
            if place == "in memory":
                history._store.read("SELECT sum(length(outputs)) FROM payloads")  # noqa: SLF001
            elif not forget_files():
                print(f"first, {name}: the system does not let us forget the file")
                view.close()
                continue
            slow |= measure_first(view, f"{name}, the file {place}", question)
    view = HistoryView(history, side_by_side=str)
    Page(view).ask(**question)
    took, _ = timed(lambda: idle(view))
    print(f"until that search was whole {took:22.2f} s of CPU")
    view.close()
    return slow


def measure_first(view: HistoryView, name: str, question: dict[str, Any]) -> bool:
    """Print what one question takes; return whether its first rows take too long."""
    page, began, cpu = Page(view), time.perf_counter(), time.process_time()
    page.ask(**question)
    waited, whole = time.perf_counter() - began, ""
    if "search" not in question:
        page.whole.wait(120)
        whole = f", all {time.perf_counter() - began:5.2f} s"
    took = time.process_time() - cpu
    print(f"first, {name:52} rows {waited:5.2f} s{whole}; {took:5.2f} s of CPU")
    view.close()
    idle(view)
    return waited >= MOST_S


def measure_first_paints(histories: dict[int, History], rounds: int = 30) -> float:
    """Return the ratio of the medians of making a table, long to short, in pairs."""
    took: dict[int, list[float]] = {count: [] for count in histories}
    for _ in range(rounds):
        for count, history in histories.items():
            seconds, view = timed(lambda: HistoryView(history, side_by_side=str))  # noqa: B023
            took[count].append(seconds)
            idle(view)
            view.close()
    return statistics.median(took[LONG]) / statistics.median(took[SHORT])


def main() -> int:
    """Measure both lengths in turn, print medians; return 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--million", type=Path, help="a history of a million runs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("first", "next"), help="half of it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = {SHORT: Path(folder) / "short.db", LONG: options.million}
        for count, path in paths.items():
            if path is None or count == SHORT:
                paths[count] = Path(folder) / f"{count}.db"
                many_runs.write(paths[count], count)
        histories = {count: History(path) for count, path in paths.items()}
        late = options.only != "next" and measure_firsts(histories[LONG])
        if options.only == "first":
            return int(late)
        found: dict[int, dict[str, list[float]]] = {SHORT: {}, LONG: {}}
        largest = 0.0
        for _ in range(options.rounds):
            for count, history in histories.items():
                largest = max(largest, measure(history, found[count]))
        ratio = measure_first_paints(histories)
        for history in histories.values():
            history.close()
    print(f"{'ms of CPU, medians':36}{SHORT:>10,}{LONG:>12,}  slowest")
    for name, short in found[SHORT].items():
        long = found[LONG][name]
        middle = statistics.median(short), statistics.median(long)
        print(f"{name:36}{1000 * middle[0]:10.1f}{1000 * middle[1]:12.1f}{1000 * max(long):9.0f}")
    slow = [name for name, took in found[LONG].items() if statistics.median(took) >= MOST_S]
    print(f"first window, long to short: {ratio:.2f} (below {MOST_RATIO})")
    print(f"slower than {MOST_S} s: {', '.join(slow) or 'nothing'}")
    print(f"largest message: {largest:.0f} kB (below {MOST_KB})")
    return int(late or ratio >= MOST_RATIO or bool(slow) or largest >= MOST_KB)


if __name__ == "__main__":
    sys.exit(main())
