"""A real local server and a workspace on it."""

from __future__ import annotations

import threading

import pytest

import vellum_nb as vnb


def shout_softly(text: str) -> dict[str, object]:
    """Say it as it is."""
    return {"loud": text}


def shout(text: str, times: int = 1) -> dict[str, object]:
    """Say it loudly."""
    return {"loud": " ".join([text.upper()] * times)}


def refuse(text: str) -> str:
    """Refuse everything."""
    raise vnb.Reject(f"no {text} today")


class Gate:
    """A workflow that waits until the test lets it go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.calls = 0

    def workflow(self, text: str) -> str:
        self.calls += 1
        self.entered.set()
        self.open.wait(20)
        return text


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def server(gate):
    with vnb.LocalServer() as server:
        server.deploy(shout_softly, name="shout", release_tags=["v1"])
        server.deploy(shout, name="shout", release_tags=["v2"])
        server.deploy(refuse, name="refuse")
        server.deploy(gate.workflow, name="gate")
        yield server


@pytest.fixture
def ws(server, tmp_path):
    with vnb.connect(server, history=tmp_path / "runs.db") as workspace:
        yield workspace
