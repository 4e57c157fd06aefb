"""Fixtures that every folder of tests shares."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch, tmp_path):
    """Keep the user's key, server and history out of the tests."""
    for name in ("VELLUM_API_KEY", "VELLUM_API_URL", "VELLUM_PREDICT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VELLUM_NB_HISTORY", str(tmp_path / "default-runs.db"))
