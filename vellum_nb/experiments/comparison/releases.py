"""Which runs stand in which column: release tags, split where a tag moved between runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vellum_nb.errors import InputError
from vellum_nb.history.reading.records import Record

__all__ = ["Columns", "baseline_of", "split", "tags_of"]

_SHORT = 8  # characters of an id
Kind = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a comparison.

    Attributes
    ----------
    labels : tuple of str
        In their order.
    of_tag : dict
        What was asked for to its columns, oldest first; one, but where a tag moved.
    moved : tuple of str
        Tags that pointed at several releases of one environment.
    """

    labels: tuple[str, ...]
    of_tag: dict[str, tuple[str, ...]]
    moved: tuple[str, ...]


def tags_of(release_tags: Sequence[str]) -> tuple[str, ...]:
    """Return the release tags, each once.

    Raises
    ------
    InputError
        There are none.
    """
    tags = (release_tags,) if isinstance(release_tags, str) else tuple(dict.fromkeys(release_tags))
    if not tags:
        msg = "a comparison needs release tags, such as release_tags=['v1', 'v2']; none was given"
        raise InputError(msg)
    return tags


def split(records: Iterable[Record], tags: Sequence[str], *, by_tag: bool = True) -> Columns:
    """Put each of `records` into its column: sets its `group`.

    Runs of one tag on several releases, or in several environments, stand in columns of their own.
    """
    of_tag: dict[str, list[Record]] = {tag: [] for tag in tags}
    for record in records:
        found = of_tag.get(record.group)
        if found is not None:
            found.append(record)
    if not by_tag:
        return Columns(tuple(tags), {tag: (tag,) for tag in tags}, ())
    labels = {tag: _labelled(tag, own) for tag, own in of_tag.items()}
    moved = tuple(tag for tag, own in of_tag.items() if _has_moved(own))
    return Columns(tuple(label for own in labels.values() for label in own), labels, moved)


def baseline_of(wanted: str | None, columns: Columns) -> str:
    """Return the column that is the baseline; of a tag that moved, its newest.

    Raises
    ------
    InputError
        There is no such column.
    """
    if wanted is None:
        return next(iter(columns.of_tag.values()))[-1]
    if wanted in columns.labels:
        return wanted
    if wanted in columns.of_tag:
        return columns.of_tag[wanted][-1]
    msg = f"{wanted!r} is not among the release tags compared: {', '.join(columns.labels)}"
    raise InputError(msg)


def _labelled(tag: str, records: Sequence[Record]) -> tuple[str, ...]:
    """Return the columns of one tag in the order in which their last runs were made."""
    kinds: set[Kind] = {(r.environment, r.release_id) for r in records if r.release_id}
    if len(kinds) < 2:  # noqa: PLR2004  (one release, or none is known)
        return (tag,)
    names = _names(tag, kinds)
    last: dict[str, int] = {}
    for each in records:
        each.group = names.get((each.environment, each.release_id), f"{tag} (release unknown)")
        last[each.group] = max(each.micros, last.get(each.group, each.micros))
    return tuple(sorted(last, key=last.__getitem__))


def _names(tag: str, kinds: set[Kind]) -> dict[Kind, str]:
    environments = {environment for environment, _ in kinds}
    ids = [release or "" for _, release in kinds]
    short = len({each[:_SHORT] for each in ids}) == len(set(ids))
    names: dict[Kind, str] = {}
    for environment, release in kinds:
        parts = [environment or "no environment"] if len(environments) > 1 else []
        if sum(other == environment for other, _ in kinds) > 1:
            text = release or ""
            cut = short and len(text) > _SHORT
            parts.append(f"release {text[:_SHORT]}…" if cut else f"release {text}")
        names[environment, release] = f"{tag} ({', '.join(parts)})"
    return names


def _has_moved(records: Sequence[Record]) -> bool:
    if any(each.tag_moved for each in records):
        return True
    kinds = {(each.environment, each.release_id) for each in records if each.release_id}
    return len({environment for environment, _ in kinds}) < len(kinds)
