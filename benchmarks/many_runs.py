"""Write a history file of very many runs, in bulk, for benchmarks.

    python benchmarks/many_runs.py PATH [--rows 1000000]

Ten deployments, three release tags, three outputs, 1 to 3 kB per run. The same number of rows gives
the same runs.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from vellum_nb import History

FIRST_US = 1_767_225_600_000_000  # 2026-01-01
STEP_US = 25_000_000
AT_ONCE = 10_000
WORDS = (
    "charged twice invoice refund policy answer ticket customer account order delivery late "
    "parcel address change password reset login error screen mobile update payment card bank "
    "transfer cancel contract renewal price discount voucher support agent waiting hours email "
    "phone reply sorry thanks manager complaint damaged missing return exchange warranty Größe "
    "Straße café naïve please urgent today yesterday month March April product service quality"
)
CATEGORIES = ("billing", "delivery", "account", "returns", "other")
TYPES = '{"category":"STRING","confidence":"NUMBER","reply":"STRING"}'

Row = dict[str, Any]


def write(path: Path, count: int, *, structured: bool = False) -> None:
    """Make a history of `count` runs at `path`, where none may be yet."""
    assert not path.exists(), f"{path} is there already"
    History(path).close()
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA synchronous = OFF")
    made = rows(count, structured=structured)
    while some := list(islice(made, AT_ONCE)):
        database.execute("BEGIN")
        _insert(database, "runs", [run for run, _ in some])
        _insert(database, "payloads", [payload for _, payload in some])
        database.execute("COMMIT")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def rows(count: int, *, structured: bool = False) -> Iterator[tuple[Row, Row]]:
    """Yield the two rows of each run, oldest first; of `structured` ones two outputs are no text.

    These are a list of objects and an object, whose names come as they do, not sorted.
    """
    dice = random.Random(count)
    texts = [_text(dice, 25, 150) for _ in range(2000)]
    replies = [_text(dice, 30, 250) for _ in range(2000)]
    for seq in range(1, count + 1):
        fails = seq % 97 == 0
        inputs = {
            "ticket": f"Case {seq}: {dice.choice(texts)}",
            "sla_hours": seq % 72,
            "vip": seq % 9 == 0,
        }
        outputs = {
            "category": dice.choice(CATEGORIES),
            "confidence": round(dice.random(), 4),
            "reply": f"Dear customer {seq}, {dice.choice(replies)}",
        }
        if structured:
            outputs = _structured(dice, outputs)
        payload = {
            "seq": seq,
            "inputs": _json(inputs),
            "outputs": "{}" if fails else _json(outputs),
            "output_types": "{}" if fails else TYPES,
            "not_sent": "[]",
        }
        yield _run(dice, seq, fails=fails), payload


def _structured(dice: random.Random, outputs: Row) -> Row:
    steps = [
        {"tool": tool, "ms": dice.randrange(2000), "ok": dice.random() < 0.9}
        for tool in dice.sample(("search", "lookup", "refund", "write"), dice.randint(1, 4))
    ]
    verdict = {key: outputs[key] for key in ("category", "confidence")}
    verdict |= {"reasons": [_text(dice, 3, 6), _text(dice, 3, 6)], "escalate": False}
    return {"reply": outputs["reply"], "steps": steps, "verdict": verdict}


def _run(dice: random.Random, seq: int, *, fails: bool) -> Row:
    at = FIRST_US + seq * STEP_US
    latency = dice.lognormvariate(-0.5, 0.6)
    return {
        "seq": seq,
        "id": f"{seq:08x}-1de9-4c02-8d6f-{seq % 9973:012x}",
        "execution_id": f"{dice.getrandbits(128):032x}",
        "external_id": f"vnb-{seq:08x}",
        "deployment": f"deployment-{dice.randrange(10)}",
        "release_tag": f"v{seq % 3 + 1}",
        "release_id": f"release-{seq % 3 + 1}",
        "environment": "production",
        "timestamp": at,
        "finished_at": at + int(latency * 1_000_000),
        "latency_s": round(latency, 6),
        "state": "REJECTED" if fails else "FULFILLED",
        "error_code": "WORKFLOW_ERROR" if fails else None,
        "error_message": "The prompt node failed: rate limited" if fails else None,
        "case_id": f"{seq % 5000:064x}",
        "repeat": 0,
        "quality": float(seq % 4) / 4 if seq % 50 == 0 else None,
        "note": f"look at {_text(dice, 3, 3)}" if seq % 500 == 0 else None,
        "cost_usd": round(latency / 300, 8),
        "tokens_in": dice.randint(80, 900),
        "tokens_out": dice.randint(20, 400),
        "model": "gpt-4o-mini",
        "tag_moved": 0,
    }


def _text(dice: random.Random, least: int, most: int) -> str:
    return " ".join(dice.choices(WORDS.split(), k=dice.randint(least, most)))


def _json(value: Row) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _insert(database: sqlite3.Connection, table: str, rows: list[Row]) -> None:
    names = list(rows[0])
    marks = ", ".join(f":{name}" for name in names)
    database.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    started = time.perf_counter()
    write(options.path, options.rows)
    with History(options.path) as history:
        size = history.size
    spent = time.perf_counter() - started
    print(f"{options.rows:,} runs, {size / options.rows:,.0f} B each, in {spent:.0f} s")


if __name__ == "__main__":
    main()
