"""What the ledger does when its file, its disk or another server is in the way."""

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from execution_kit import record
from ports_kit import free_port

from vellum_nb.errors import VellumNBError
from vellum_nb.local import LocalServer
from vellum_nb.local.ledger import Ledger

ROOMY = 2**30
IDENTITY = "/v1/workspaces/identity"


def not_a_database(path: Path) -> None:
    path.write_bytes(b"this is no database, and long enough to be sure of it" * 50)


def damaged(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))


def with_a_record_that_is_none(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE executions SET record = '{'")


@pytest.mark.parametrize("spoil", [damaged, with_a_record_that_is_none])
def test_a_file_that_is_damaged_is_refused_when_a_server_starts(tmp_path, spoil):
    ledger = Ledger(tmp_path)
    ledger.begin(record())
    ledger.close()
    spoil(tmp_path / "executions.db")
    before = (tmp_path / "executions.db").read_bytes()
    for _ in range(2):
        with pytest.raises(VellumNBError, match="damaged and was not changed|were not changed"):
            LocalServer(data=tmp_path).start()
    assert (tmp_path / "executions.db").read_bytes() == before


@pytest.mark.parametrize("name", ["executions.db", "registry.db"])
def test_a_file_of_another_program_or_a_newer_version_is_refused_and_left(tmp_path, name):
    not_a_database(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    with pytest.raises(VellumNBError, match="is not an SQLite file and was not changed"):
        LocalServer(data=tmp_path).start()
    assert (tmp_path / name).read_bytes() == before
    (tmp_path / name).unlink()
    with LocalServer(data=tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / name)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(VellumNBError, match="newer vellum_nb"):
        LocalServer(data=tmp_path).start()


def test_a_lock_that_is_none_is_not_taken_for_another_server(tmp_path):
    not_a_database(tmp_path / "server.lock")
    with pytest.raises(VellumNBError, match=r"cannot be locked .*server\.lock"):
        LocalServer(data=tmp_path).start()


def test_one_server_at_a_time_serves_a_folder_which_one_without_a_port_lets_go_of(tmp_path):
    first, second = LocalServer(data=tmp_path), LocalServer(data=tmp_path)
    with first, pytest.raises(VellumNBError, match="is used by another server"):
        second.start()
    with second, LocalServer() as another:
        assert second.url != another.url
        with pytest.raises(VellumNBError, match="is used by another server"):
            first.start()
    with LocalServer() as running:
        port = int(running.url.rpartition(":")[2])
        with pytest.raises(VellumNBError, match=f"Port {port} is not available"):
            LocalServer(data=tmp_path, port=port).start()
    port = free_port()
    again = LocalServer(data=tmp_path, port=port)
    for _ in range(2):
        with again:
            assert again.url == f"http://127.0.0.1:{port}"


def allow(ledger: Ledger, pages: int) -> None:
    """Have SQLite behave as on a disk with room for so many pages."""
    ledger.store.write(lambda tx: tx.read(f"PRAGMA max_page_count = {pages}"))


def test_a_run_that_cannot_be_kept_does_not_run(tmp_path, asking):
    ran: list[str] = []

    def note(text: str) -> str:
        ran.append(text)
        return text

    with LocalServer(data=tmp_path) as server:
        server.deploy(note)
        ledger = server._ledger
        allow(ledger, 1)
        answer = asking(server).ask("note", "x" * 1_000_000)
        assert (answer.status_code, ran) == (507, [])
        assert "(database or disk is full)" in answer.json()["detail"]
        allow(ledger, ROOMY)
        assert asking(server).ask("note", "room").status_code == 200
    assert ran == ["room"]


def test_a_run_whose_end_cannot_be_kept_is_kept_as_rejected(tmp_path, asking):
    def flood(text: str) -> str:
        return text * 1_000_000

    with LocalServer(data=tmp_path) as server:
        server.deploy(flood)
        ledger = server._ledger
        pages = ledger.store.read("PRAGMA page_count")[0][0]
        allow(ledger, pages + 16)
        answer = asking(server).ask("flood", "x").json()
        assert answer["data"]["state"] == "REJECTED"
        assert "Its end could not be recorded" in answer["data"]["error"]["message"]
        kept = ledger.record(answer["execution_id"])
        assert kept is not None
        assert kept.status == "REJECTED"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_the_data_folder_is_readable_by_its_owner_only(tmp_path, asking):
    def echo(text: str) -> str:
        return text

    (tmp_path / "flow.py").write_text("def flow(text: str) -> str: return text\n")
    data = tmp_path / "data"
    old = os.umask(0o022)
    try:
        with LocalServer(data=data) as server:
            server.deploy(echo)
            server.deploy(tmp_path / "flow.py")
            assert asking(server).ask("echo", "private").status_code == 200
            assert asking(server).ask("flow", "private").status_code == 200
            found = [data, *data.iterdir(), *(data / "sources").iterdir()]
            modes = {path: stat.S_IMODE(path.stat().st_mode) for path in found}
    finally:
        os.umask(old)
    assert len(modes) > 5
    assert not {path.name: oct(mode) for path, mode in modes.items() if mode & 0o077}


def test_a_server_that_forgets_its_executions_is_another_workspace(tmp_path, asking):
    def identity_of_new(**options: Any) -> str:
        with LocalServer(**options) as server:
            return str(asking(server).get(IDENTITY).json()["id"])

    assert identity_of_new(data=tmp_path) == identity_of_new(data=tmp_path)
    assert len({identity_of_new() for _ in range(3)}) == 3
    server = LocalServer()
    with server:
        first = asking(server).get(IDENTITY).json()["id"]
    with server:
        assert asking(server).get(IDENTITY).json()["id"] == first
