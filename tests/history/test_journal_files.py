"""The files of a journal, and who may have them."""

from __future__ import annotations

from pathlib import Path

from vellum_nb.history.postgres.journal_files import JournalFile


def test_nobody_takes_a_file_over_that_is_being_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    file = JournalFile.new("0")
    assert file.append("{}") is None
    unlink, taken = Path.unlink, []

    def watched(path, *, missing_ok=False):
        taken.append(JournalFile.taken_over(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", watched)
    file.remove()
    assert taken == [None]
    assert not file.path.exists()
