"""How fast two answers are compared: ours beside `difflib` on the same words.

Pairs of texts of 2 kB, as two releases write them: some edited, some in lines, some unlike. The
sides take turns in one process. Run it with ``python benchmarks/bench_diff.py``; it fails when
10,000 pairs of any kind take more than 3 s of processor time, or when difflib's slower way of the
two is not 5 times as slow as ours, marks and all.
"""

from __future__ import annotations

import random
import re
import statistics
import sys
import time
from collections.abc import Callable
from difflib import SequenceMatcher

from vellum_nb.rendering.diff import word_diff

PAIRS = 10_000
SAMPLE = 1_000  # pairs measured in each of `ROUNDS`, difflib on fewer
SLOW = 20
ROUNDS = 5
SIZE = 2_000
WORDS = re.compile(r"\s+|\w+|[^\w\s]")
DRAW = random.Random(7)
VOCABULARY = [
    "".join(DRAW.choices("etaoinshrdlucmfwypvbgkqjxz", k=DRAW.randint(1, 9))) for _ in range(1_500)
]

Pair = tuple[str, str]


def text() -> list[str]:
    """Return the words of a text of `SIZE` characters, with the signs behind them."""
    words: list[str] = []
    size = 0
    while size < SIZE:
        # Few words are used often, as in any language.
        word = VOCABULARY[int(len(VOCABULARY) * DRAW.random() ** 3)]
        words.append(word + DRAW.choices([" ", ", ", ". ", ".\n"], [85, 6, 7, 2])[0])
        size += len(words[-1])
    return words


def edited(share: float) -> Pair:
    """Return a text, and the same with `share` of its words replaced, left out or doubled."""
    old = text()
    new = list(old)
    for _ in range(int(share * len(old))):
        place = DRAW.randrange(len(new))
        new[place] = DRAW.choice(["", f"{DRAW.choice(VOCABULARY)} ", new[place] * 2])
    return "".join(old), "".join(new)


KINDS: dict[str, Callable[[], Pair]] = {
    "2 % of the words edited": lambda: edited(0.02),
    "10 % of the words edited": lambda: edited(0.1),
    "30 % of the words edited": lambda: edited(0.3),
    "two texts of the same words": lambda: ("".join(text()), "".join(text())),
}


def by_difflib(old: str, new: str, *, autojunk: bool) -> object:
    """Return difflib's opcodes on words; with `autojunk` it leaves frequent words out."""
    matcher = SequenceMatcher(None, WORDS.findall(old), WORDS.findall(new), autojunk=autojunk)
    return matcher.get_opcodes()


SIDES: dict[str, tuple[Callable[[str, str], object], int]] = {
    "ours": (word_diff, SAMPLE),
    "difflib": (lambda old, new: by_difflib(old, new, autojunk=False), SLOW),
    "difflib, autojunk": (lambda old, new: by_difflib(old, new, autojunk=True), SAMPLE // 4),
}


def measure(pairs: list[Pair]) -> dict[str, float]:
    """Return seconds of processor time for `PAIRS` pairs, medians of rounds in turn."""
    took: dict[str, list[float]] = {name: [] for name in SIDES}
    for turn in range(ROUNDS):
        for name, (compare, count) in SIDES.items():
            some = pairs[turn * count : (turn + 1) * count]
            start = time.process_time()
            for old, new in some:
                compare(old, new)
            took[name].append((time.process_time() - start) / len(some) * PAIRS)
    return {name: statistics.median(times) for name, times in took.items()}


def main() -> int:
    """Measure every kind of pairs and print a line for each."""
    missed = False
    print(f"seconds for {PAIRS:,} pairs of {SIZE:,} characters, and how often ours goes into it")
    print(f"{'':30}{'ours':>8}{'difflib':>20}{'difflib, autojunk':>22}")
    for kind, make in KINDS.items():
        took = measure([make() for _ in range(SAMPLE * ROUNDS)])
        ours, exact, quick = took.values()
        print(
            f"{kind:30}{ours:8.2f}{exact:12.1f} ({exact / ours:4.0f} x){quick:14.1f} "
            f"({quick / ours:4.1f} x)"
        )
        missed |= ours > 3 or exact < 5 * ours
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
