"""A file that is taken away while it is open: no run is written to where nobody finds it."""

from __future__ import annotations

import sys

import pytest

from vellum_nb import History, HistoryError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps open files in place")
GONE = "was deleted, moved or replaced"


def test_a_deleted_file_is_not_written_to(history, path, make_run):
    history.begin(make_run())
    path.unlink()
    with pytest.raises(HistoryError, match=GONE):
        history.begin(make_run())
    with pytest.raises(HistoryError, match=GONE):
        history.frame()
    assert not path.exists()
    assert repr(history) == f"<History {path}: cannot be read>"
    assert GONE in history._repr_html_()


def test_a_replaced_file_is_not_written_to(history, path, make_run, tmp_path):
    history.begin(make_run())
    with History(tmp_path / "other.db"):
        pass
    (tmp_path / "other.db").replace(path)
    with pytest.raises(HistoryError, match=GONE):
        history.begin(make_run())


def test_a_file_that_is_put_back_goes_on(history, path, make_run, tmp_path):
    history.begin(make_run())
    path.rename(tmp_path / "moved.db")
    with pytest.raises(HistoryError, match=GONE):
        history.begin(make_run())
    (tmp_path / "moved.db").rename(path)
    history.begin(make_run())
    assert history.count() == 2
