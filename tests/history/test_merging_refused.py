"""What a history cannot be merged with."""

import traceback

import pytest

from vellum_nb import HistoryError


@pytest.mark.parametrize("content", [None, b"not a database, but long enough" * 40])
def test_what_is_no_history_is_told_and_changes_nothing(history, tmp_path, path, content):
    file = tmp_path / "x.db"
    if content:
        file.write_bytes(content)
    with pytest.raises(HistoryError, match=rf"{file}"):
        history.merge(file)
    assert history.count() == 0


def test_a_server_that_cannot_be_reached_is_told_without_its_password(history, path):
    with pytest.raises(HistoryError, match="cannot be reached") as caught:
        history.merge("postgresql://ada:s3cret@127.0.0.1:1/team")
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in told.stack if "vellum_nb" in frame.filename]
    assert ours
    shown = str(caught.value) + "".join(str(frame.locals) for frame in ours)
    assert "s3cret" not in shown.replace(__file__, "")


@pytest.mark.parametrize("other", [None, 7, ["run-1"], {"id": "run-1"}])
def test_what_is_neither_a_history_nor_runs_is_refused(history, other):
    with pytest.raises(HistoryError, match="its file, its URL or a History"):
        history.merge(other)
