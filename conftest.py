"""Keep the user's key and history out of the tests and of the notebooks' kernels."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_FOLDER = tempfile.TemporaryDirectory(prefix="vellum_nb-tests-")


def pytest_configure() -> None:
    """Point every kernel that the session starts at a history of its own."""
    for name in ("VELLUM_API_KEY", "VELLUM_API_URL", "VELLUM_PREDICT_API_URL"):
        os.environ.pop(name, None)
    os.environ["VELLUM_NB_HISTORY"] = str(Path(_FOLDER.name) / "runs.db")


def pytest_unconfigure() -> None:
    """Remove what the session wrote."""
    _FOLDER.cleanup()
