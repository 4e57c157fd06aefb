"""Keep the user's key and history out of the tests and of the notebooks' kernels.

A session that leaves a file in the checkout fails.
"""

from __future__ import annotations

import os
import tempfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

_FOLDER = tempfile.TemporaryDirectory(prefix="vellum_nb-tests-")
_ROOT = Path(__file__).parent
# Caches, and what `make` builds.
_IGNORED = (
    *(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", ".coverage*"),
    *("build", "dist", "htmlcov", "screenshots"),
)
_FILES = pytest.StashKey[set[str]]()
_LEFT = pytest.StashKey[list[str]]()


def pytest_configure() -> None:
    """Point every kernel that the session starts at a history of its own."""
    for name in ("VELLUM_API_KEY", "VELLUM_API_URL", "VELLUM_PREDICT_API_URL"):
        os.environ.pop(name, None)
    os.environ["VELLUM_NB_HISTORY"] = str(Path(_FOLDER.name) / "runs.db")


def pytest_unconfigure() -> None:
    """Remove what the session wrote."""
    _FOLDER.cleanup()


def _files() -> set[str]:
    """Return the files in the checkout, except for caches and builds."""

    def kept(names: list[str]) -> list[str]:
        return [name for name in names if not any(fnmatch(name, each) for each in _IGNORED)]

    files = set()
    for folder, folders, names in os.walk(_ROOT):
        folders[:] = kept(folders)
        files.update(os.path.relpath(Path(folder, name), _ROOT) for name in kept(names))
    return files


def pytest_sessionstart(session: pytest.Session) -> None:
    """List the files that exist before the first test."""
    if not hasattr(session.config, "workerinput"):  # pytest-xdist: the controller looks
        session.config.stash[_FILES] = _files()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the session if there are other files than before."""
    config = session.config
    if (before := config.stash.get(_FILES, None)) is not None:
        config.stash[_LEFT] = sorted(_files() - before)
        if config.stash[_LEFT] and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Name the files that the session left."""
    if left := config.stash.get(_LEFT, []):
        terminalreporter.section("files left in the checkout", red=True)
        terminalreporter.line("The tests must write to temporary folders, but left:")
        for name in left:
            terminalreporter.line(f"  {name}")
