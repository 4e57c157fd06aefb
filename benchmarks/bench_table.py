"""How long the history table takes to its first rows: 1,000 runs against 100,000.

Measured in Python, in one process, alternating: making the table, then answering what the browser
asks first, after a sort, and at the far end. Run it with ``python benchmarks/bench_table.py``.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from vellum_nb import History, HistoryView, Run
from vellum_nb.models import case_id

ROUNDS = 7
SHORT, LONG = 1_000, 100_000
START = datetime(2026, 1, 1, tzinfo=UTC)
COPY = {"seq": "seq + :top", "id": "id || '-' || :top", "external_id": "NULL"}


def fill(path: Path, count: int) -> None:
    """Record `SHORT` runs, then copy them in SQL until there are `count`."""
    with History(path) as history:
        for number in range(SHORT):
            inputs = {"ticket": f"I was charged twice, ticket {number}. " * 8}
            run = Run(
                id=f"run-{number}",
                deployment="ticket-triage",
                release_tag=f"v{number % 3 + 1}",
                timestamp=START + timedelta(minutes=number),
                inputs=inputs,
                case_id=case_id(inputs),
            )
            history.begin(run)
            outputs = {"category": "billing", "reply": "Thanks for writing. " * 40}
            ended = {"state": "FULFILLED", "outputs": outputs, "latency_s": number / 1000}
            history.finish(run.model_copy(update=ended))
        with history._store.write() as connection:  # noqa: SLF001  (there is no public bulk copy)
            while (top := connection.execute("SELECT max(seq) FROM runs").fetchone()[0]) < count:
                for table in ("runs", "payloads"):
                    info = connection.execute(f"PRAGMA table_info({table})").fetchall()
                    names = [name for _, name, *_ in info]
                    values = ", ".join(COPY.get(name, name) for name in names)
                    sql = f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table}"
                    connection.execute(
                        f"{sql} WHERE seq <= :room", {"top": top, "room": count - top}
                    )


def measure(history: History) -> dict[str, float]:
    """Return milliseconds, and kilobytes of a window, of one table from start to end."""
    took: dict[str, float] = {}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = call()
        took[name] = 1000 * (time.perf_counter() - start)
        return result

    view = timed("table made, first window (ms)", lambda: HistoryView(history, side_by_side=str))
    sent: list[dict[str, Any]] = []
    view.send = lambda content, buffers=None: sent.append(content)  # noqa: ARG005
    window = {"kind": "rows", "view": "a", "seq": 1, "limit": 40}

    def ask(**content: Any) -> None:
        view._handle_custom_msg({**window, **content}, [])  # noqa: SLF001  (as the browser does)

    timed("what is in sight (ms)", lambda: ask(offset=0))
    timed("sorted by latency_s (ms)", lambda: ask(offset=0, order_by="latency_s"))
    timed("the last rows (ms)", lambda: ask(offset=history.count() - 20, scroll=True))
    timed("filtered by a text (ms)", lambda: ask(offset=0, order_by="timestamp", search="nothing"))
    took["one window (kB)"] = len(json.dumps(sent[0])) / 1000
    view.close()
    return took


def main() -> None:
    """Measure both lengths in turn and print medians."""
    with tempfile.TemporaryDirectory() as folder:
        found: dict[int, list[dict[str, float]]] = {SHORT: [], LONG: []}
        histories = {}
        for count in found:
            path = Path(folder) / f"{count}.db"
            fill(path, count)
            histories[count] = History(path)
        for _ in range(ROUNDS):
            for count, history in histories.items():
                found[count].append(measure(history))
        for history in histories.values():
            history.close()
    print(f"{'':32}{SHORT:>10,}{LONG:>10,}")
    for name in found[SHORT][0]:
        short, long = (statistics.median(took[name] for took in found[n]) for n in (SHORT, LONG))
        print(f"{name:32}{short:10.1f}{long:10.1f}")


if __name__ == "__main__":
    main()
