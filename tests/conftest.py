"""Fixtures that every folder of tests shares."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _a_history_of_its_own(monkeypatch, tmp_path):
    """Give each test a default history of its own."""
    monkeypatch.setenv("VELLUM_NB_HISTORY", str(tmp_path / "default-runs.db"))
