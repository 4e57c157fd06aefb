"""What two texts share and what differs, in turns: joined, weighed, without confetti."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Block", "alternating", "shared_weight", "weight", "without_islands"]

Block = tuple[str, str, str]  # what is equal, else what went and what came

_ISLAND = 100  # characters; longer equal pieces always stand


def weight(text: str) -> int:
    """Return how many characters of `text` can be seen."""
    return len(text) - text.count(" ") - text.count("\n") - text.count("\t")


def shared_weight(blocks: Iterable[Block]) -> int:
    """Return how many characters that can be seen are equal."""
    return weight("".join([block[0] for block in blocks]))


def alternating(blocks: Iterable[Block]) -> list[Block]:
    """Join neighbours, so that what is equal and what differs take turns."""
    joined: list[Block] = []
    same = old = new = ""
    for equal, gone, come in blocks:
        if equal:
            if old or new:
                joined.append(("", old, new))
                old = new = ""
            same += equal
        elif gone or come:
            if same:
                joined.append((same, "", ""))
                same = ""
            old += gone
            new += come
    if same:
        joined.append((same, "", ""))
    elif old or new:
        joined.append(("", old, new))
    return joined


def without_islands(blocks: Iterable[Block]) -> list[Block]:
    """Merge equal pieces that are small beside the changes on both sides of them."""
    kept: list[Block] = []
    for block in blocks:
        equal, old, new = block
        if equal:
            if kept and kept[-1][0]:
                block = (kept.pop()[0] + equal, "", "")  # noqa: PLW2901
            kept.append(block)
        elif old or new:
            if kept and not kept[-1][0]:
                _, old_1, new_1 = kept.pop()
                old, new = old_1 + old, new_1 + new
            kept.append(_grown(kept, old, new))
    return kept


def _grown(kept: list[Block], old: str, new: str) -> Block:
    """Return a change, and what it swallows: islands before it and the changes beyond them."""
    while len(kept) > 1:
        island = kept[-1][0]
        least = 2 * len(island.strip())
        if len(island) > _ISLAND or (len(old) < least and len(new) < least):
            break
        _, old_1, new_1 = kept[-2]
        if not _is_island(island, least, (old_1, new_1), (old, new)):
            break
        del kept[-2:]
        old, new = f"{old_1}{island}{old}", f"{new_1}{island}{new}"
    return ("", old, new)


def _is_island(island: str, least: int, before: tuple[str, str], after: tuple[str, str]) -> bool:
    """Return whether `island` is small beside the change before it, too."""
    if "\n" in island:
        return False
    if not least:
        # A space between two replaced words; between two mere insertions it keeps them apart.
        return all(before) and all(after)
    return max(map(len, before)) >= least
