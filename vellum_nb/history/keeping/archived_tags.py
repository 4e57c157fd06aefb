"""On which release tags runs were made, as far as archives can be looked into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vellum_nb.errors import HistoryError
from vellum_nb.history.keeping.archive_files import ArchiveFile
from vellum_nb.history.keeping.archive_notes import noted
from vellum_nb.history.keeping.one_state import in_one_state
from vellum_nb.history.reading.query import Selection
from vellum_nb.history.store.store import Snapshot, Store

__all__ = ["KnownTags", "known_tags"]


@dataclass(frozen=True, slots=True)
class KnownTags:
    """The release tags that a deployment has runs on.

    Attributes
    ----------
    here, archived : frozenset of str
        Those in the history, those in its archives.
    unread : tuple of Path
        Archives that are not there or cannot be read.
    """

    here: frozenset[str]
    archived: frozenset[str]
    unread: tuple[Path, ...]


def known_tags(store: Store, deployment: str) -> KnownTags:
    """Return the release tags of the runs of `deployment`, wherever they are."""

    def read(snapshot: Snapshot, _: Selection, files: Sequence[ArchiveFile]) -> KnownTags:
        sql = "SELECT DISTINCT release_tag FROM runs WHERE deployment = ?"
        here = frozenset(tag for (tag,) in snapshot.read(sql, (deployment,)))
        archived: set[str] = set()
        unread: list[Path] = []
        for file in files:
            try:
                rows = file.only(("deployment", "release_tag"))
            except HistoryError:
                if file not in noted(store):  # brought back just now: all is read once more
                    raise
                unread.append(file.path)
            else:
                archived |= {tag for of, tag in rows if of == deployment}
        return KnownTags(here, frozenset(archived), tuple(unread))

    return in_one_state(store, {}, read)
