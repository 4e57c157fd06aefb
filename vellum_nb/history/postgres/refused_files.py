"""Files of writes that the server refused: read, and tried again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from vellum_nb.errors import HistoryError
from vellum_nb.history.postgres.journal_files import JournalFile, age, folder
from vellum_nb.history.postgres.journal_parts import PartStore, make_each
from vellum_nb.history.store.later import named
from vellum_nb.history.store.refused import Refused, Retried

__all__ = ["kept", "retry"]


def kept(prefix: str) -> list[Refused]:
    """Return what is kept of the history of this prefix, the oldest first."""
    return [refused for path in _files(prefix) for refused, _ in _lines(path)]


def retry(store: PartStore, prefix: str) -> Retried:
    """Make what is kept, in its order; what is refused once more stays kept, in another file.

    Each write says how it is made again: one that was made before a death is made once.

    Raises
    ------
    OutOfReachError
        The rest stays as it is.
    HistoryError
        A file is damaged, or what is refused once more cannot be written; it stays, too.
    """
    made = 0
    refused: list[Refused] = []
    for path in _files(prefix):
        file = JournalFile.taken_over(path)
        if file is None:  # another process tries it just now
            continue
        try:
            tried, left = make_each(store, [text for _, text in _lines(path)])
            if left:
                other = JournalFile.new(prefix)
                _set_aside(other, left, path)
                refused += [Refused(*named(text), why, other.aside) for text, why in left]
            made += tried - len(left)
            file.remove()
        finally:
            file.close()
    return Retried(made, tuple(refused))


def _files(prefix: str) -> list[Path]:
    """Return the files, but for those that a journal may still add to."""
    found = sorted(folder().glob(f"{prefix}-*.refused"), key=age)
    return [path for path in found if not path.with_suffix(".jsonl").exists()]


def _set_aside(file: JournalFile, left: Sequence[tuple[str, str]], path: Path) -> None:
    try:
        file.set_aside(left)
    except OSError as exc:
        file.aside.unlink(missing_ok=True)
        msg = (
            f"What is refused once more cannot be written to {file.aside} "
            f"({exc.strerror or exc}), so all of {path} stays; make room, and try it again"
        )
        raise HistoryError(msg) from exc


def _lines(path: Path) -> list[tuple[Refused, str]]:
    """Return what each whole line tells, and its write; nothing where the file is gone by now."""
    try:
        lines = path.read_text(encoding="utf-8", errors="backslashreplace").split("\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as exc:
        msg = f"{path} cannot be read ({exc.strerror or exc}); mend that, or move it away"
        raise HistoryError(msg) from exc
    found = []
    for number, line in enumerate(lines, 1):
        try:
            problem, end = json.JSONDecoder().raw_decode(line)
            text = json.dumps(json.loads(line[end:]), separators=(",", ":"))
            found.append((Refused(*named(text), problem, path), text))
        except (TypeError, ValueError) as exc:
            msg = f"{path} is damaged in line {number} ({exc}); mend the line, or take it out"
            raise HistoryError(msg) from exc
    return found
