"""Temporary PostgreSQL server to try a team's history.

Used by the notebook next to it, the tests and the benchmarks. A team uses its own server.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

__all__ = ["TryoutPostgres"]

_USER = "vnb"
_DEFAULT = "runs"
_MISSING = (
    "PostgreSQL's server is not installed: initdb and postgres are neither on the PATH nor in "
    "/usr/lib/postgresql. Install it, for example with "
    "'sudo apt-get install postgresql' or 'brew install postgresql'"
)


class TryoutPostgres:
    """PostgreSQL server on a free port of 127.0.0.1, in a temporary folder.

    Anyone on this machine can use it without a password, so do not store real data in it. Root
    cannot run PostgreSQL: it runs as the user ``postgres``, which Debian's package creates.

    Parameters
    ----------
    **settings : str
        Settings of the server, such as ``fsync="off"`` or ``port="5433"``.

    Raises
    ------
    RuntimeError
        If the server is not installed or does not start; the message contains its log.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> with TryoutPostgres() as team, vnb.History(team.url()) as history:
    ...     history.count()
    0
    """

    def __init__(self, **settings: str) -> None:
        self._programs = _programs()
        self._settings = {"listen_addresses": "127.0.0.1", **settings}
        self._as: dict[str, Any] = {}
        self.port = int(self._settings.pop("port", 0)) or _free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="vnb-postgres-"))
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            self._as = {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(self.folder, "postgres", "postgres")
        self.data = self.folder / "data"
        try:
            self._call("initdb", "-N", "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C")
            self.start()
            self._call("createdb", "-h", "127.0.0.1", "-U", _USER, _DEFAULT)
        except BaseException:
            self.close()
            raise

    def url(self, database: str = _DEFAULT, user: str = _USER) -> str:
        """Return the URL to pass to `vellum_nb.connect` as ``history``."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server on the same port with its data."""
        options = " ".join(f"-c {name}={value}" for name, value in self._settings.items())
        log = self.folder / "log"
        self._call(
            "pg_ctl",
            "start",
            "-w",
            "-l",
            str(log),
            "-o",
            f"-p {self.port} -k {self.folder} {options}",
        )

    def stop(self) -> None:
        """Stop the server immediately without waiting for clients, as a crash would."""
        self._call("pg_ctl", "stop", "-m", "immediate")

    def close(self) -> None:
        """Stop the server and delete its folder; idempotent."""
        if (self.data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _call(self, program: str, *arguments: str) -> None:
        environment = {**os.environ, "PGDATA": str(self.data), "PGPORT": str(self.port)}
        output = self.folder / "output"
        with output.open("wb") as file:  # a pipe would stay open as long as the server
            done = subprocess.run(
                [self._programs / program, *arguments],
                env=environment,
                stdout=file,
                stderr=file,
                check=False,
                cwd=self.folder,
                **self._as,
            )
        if done.returncode:
            log = "".join(
                path.read_text(encoding="utf-8", errors="replace")[-2000:]
                for path in (output, self.folder / "log")
                if path.exists()
            )
            msg = f"PostgreSQL's {program} failed: {log.strip()}"
            raise RuntimeError(msg)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TryoutPostgres on 127.0.0.1:{self.port}>"


def _programs() -> Path:
    """Return the newest folder with ``initdb``."""
    packaged = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if packaged:
        return max(packaged, key=lambda path: float(path.parent.name))
    on_path = shutil.which("initdb")
    if on_path is None:
        raise RuntimeError(_MISSING)
    return Path(on_path).resolve().parent


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
