"""100,000 stored runs side by side: how long until each figure is there.

    python benchmarks/bench_compare.py

20,000 cases, 5 releases, one answer each; a third of the cases say what is expected. Fails when
comparing them, `repr`, `summary` and `frame` take 5 s or more of one core together; loading scipy
and pandas, once a process, is told apart.
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

import vellum_nb as vnb
from vellum_nb.models import Run, case_id

CASES = 20_000
TAGS = ("v1", "v2", "v3", "v4", "v5")
TARGET = 5.0
WORDS = ("thanks", "for", "writing", "we", "are", "sorry", "you", "were", "charged", "twice")


def write(path: Path) -> None:
    """Write a history of CASES x TAGS runs, with outputs of about 300 characters."""
    rng = random.Random(7)
    kept = vnb.History(path)
    start = datetime(2026, 11, 25, tzinfo=UTC)
    batch = []
    for number in range(CASES):
        inputs = {"ticket": f"ticket {number}: {' '.join(rng.choices(WORDS, k=20))}", "vip": True}
        identity = case_id(inputs)
        reply = " ".join(rng.choices(WORDS, k=50))
        for at, tag in enumerate(TAGS):
            moment = start + timedelta(milliseconds=5 * number + at)
            right = rng.random() < 0.7 + 0.05 * at
            run = Run(
                id=f"{number}-{tag}",
                deployment="triage",
                release_tag=tag,
                release_id=f"release-{tag}",
                environment="production",
                timestamp=moment,
                finished_at=moment + timedelta(seconds=1),
                latency_s=rng.lognormvariate(0, 0.3),
                state="FULFILLED",
                inputs=inputs,
                outputs={
                    "category": "billing" if right else "account",
                    "reply": reply if rng.random() < 0.5 else f"{reply} {tag}",
                    "tags": ["a", {"n": at}],
                },
                case_id=identity,
                cost_usd=rng.random() / 100,
                desired={"category": "billing"} if at == 0 and number % 3 == 0 else None,
            )
            batch.append(run)
    kept.merge(batch)
    kept.close()


def peak() -> float:
    """Return the most memory that this process has ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def written(path: Path) -> vnb.History:
    """Return such a history; another process makes it, so that this one's memory tells."""
    making = get_context("spawn").Process(target=write, args=(path,))
    making.start()
    making.join()
    return vnb.History(path)


def seconds(call: Callable[[], object]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


def libraries() -> None:
    import_module("pandas")
    import_module("scipy.stats")


def main() -> int:
    """Measure, print, and return whether the target was missed."""
    took = {"import": seconds(libraries)}
    with (
        tempfile.TemporaryDirectory() as folder,
        written(Path(folder) / "runs.db") as kept,
        vnb.connect("local", history=kept) as ws,
    ):
        before = peak()
        begun = time.process_time()
        compared = ws.compare("triage", release_tags=TAGS)
        took["compare"] = time.process_time() - begun
        took |= {
            name: seconds(getattr(compared, name)) for name in ("__repr__", "summary", "frame")
        }
        needed = sum(took.values()) - took["import"]
        more = peak() - before
        took |= {name: seconds(getattr(compared, name)) for name in ("regressions", "long")}
    for name, each in took.items():
        print(f"{name:12} {each:6.2f} s")
    print(f"memory at most {more:.0f} MB more than before")
    print(f"compare, repr, summary and frame: {needed:.2f} s, target below {TARGET:.0f} s")
    return needed >= TARGET


if __name__ == "__main__":
    sys.exit(main())
