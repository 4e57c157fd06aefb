"""Differences of the worst values, in a process with limits of time and memory."""

import resource
import subprocess
import sys

import pytest

SECONDS = 120  # without bounds these take hours
MEGABYTES = 1_500  # and tens of gigabytes

PRELUDE = """
import random
from vellum_nb.rendering.diff import difference

draw = random.Random(1)

def words(vocabulary, count=80_000):
    return [f"w{draw.randrange(vocabulary)}" for _ in range(count)]

def check(old, new, kind):
    found = difference(old, new, kind)
    assert found
    assert len(found.to_html()) < 1_000_000, len(found.to_html())
    assert found.to_text() and found.to_markdown() and found.summary
"""
TEXTS = {
    "nothing in common": ('" ".join(words(10**9))', '" ".join(words(10**9))'),
    "two long words": ('"ab" * 250_000', '"cd" * 250_000'),
    "one word again and again": ('"a " * 250_000', '"a b " * 125_000'),
    "a large vocabulary": ('" ".join(words(5_000))', '" ".join(words(5_000))'),
    "signs": (
        '"".join(draw.choices("!?.;", k=250_000))',
        '"".join(draw.choices(".;:", k=250_000))',
    ),
    "scripts without spaces": (
        '"".join(chr(0x4e00 + draw.randrange(3000)) for _ in range(150_000))',
        '"".join(chr(0x4e00 + draw.randrange(3000)) for _ in range(150_000))',
    ),
}
LISTS = {
    "shuffled": ("list(range(7_500))", "draw.sample(range(7_500), 7_500)"),
    "nothing in common": ("list(range(7_500))", "list(range(-7_500, 0))"),
    "objects that moved": (
        '[{"id": n, "v": n} for n in range(7_500)]',
        '[{"id": n, "v": n + n % 2} for n in draw.sample(range(7_500), 7_500)]',
    ),
    "keys": (
        "{str(n): n for n in range(7_500)}",
        "{str(n): n + n % 2 for n in draw.sample(range(7_500), 7_500)}",
    ),
}


def run(code: str) -> None:
    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_DATA, (MEGABYTES * 2**20,) * 2)

    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code], preexec_fn=bounded, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize(("pairs", "kind"), [(TEXTS, "STRING"), (LISTS, "JSON")])
def test_large_values_are_compared_within_limits(pairs, kind):
    run("".join(f"old, new = {old}, {new}\ncheck(old, new, {kind!r})\n"
                for old, new in pairs.values()))  # fmt: skip


def test_deeply_nested_values_are_compared():
    run("""
def nested(bottom, each):
    for level in range(1_000):
        bottom = {"k": [bottom, each * level]}
    return bottom

for old, new in ((nested("a", 1), nested("b", 1)), (nested("a", 1), nested("a", -1))):
    check(old, new, "JSON")
""")
