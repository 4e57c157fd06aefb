"""Fixtures that every folder of tests shares."""

import gc
import itertools
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from vellum_nb.lazy import load_jsonschema

load_jsonschema()  # before Altair, nbformat and Vellum's SDK import it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a shell that runs it with `&`
    signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, str(Path(__file__).parent))  # for the private PostgreSQL server

NUMBERS = itertools.count()
# A busy machine is slow, not wrong; what examples share (a history) they clear themselves.
BUSY = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}
settings.register_profile("same", **BUSY, derandomize=True, max_examples=50)
settings.register_profile("few", **BUSY, derandomize=True, max_examples=10)  # of make check
settings.register_profile("new", **BUSY)  # --hypothesis-profile=new looks for more
settings.load_profile("same")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Collect without the garbage collector, which takes half of the time and finds nothing."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()  # nor does any later collection look at the modules of all tests


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Mark the tests that need PostgreSQL. Workers start with the files that take longest."""
    for item in items:
        if "postgres" in getattr(item, "fixturenames", ()):
            item.add_marker("postgres")
    if hasattr(config, "workerinput"):  # pytest-xdist: a long file must not be the last one
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        number = Counter(item.path for item in items)
        items.sort(key=lambda item: (-slow[item.path], -number[item.path]))


def pytest_terminal_summary(terminalreporter):
    """Print the first failure of each test that was run again, in full."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"failed at first: {report.nodeid}")
        terminalreporter.line(report.longreprtext)


@pytest.fixture(scope="session")
def _default_histories(tmp_path_factory):
    return tmp_path_factory.mktemp("default-histories")


@pytest.fixture(autouse=True)
def _a_history_of_its_own(monkeypatch, _default_histories):
    """Give each test a default history of its own, whose runs have no author."""
    monkeypatch.setenv("VELLUM_NB_AUTHOR", "")
    monkeypatch.setenv("VELLUM_NB_HISTORY", str(_default_histories / f"{next(NUMBERS)}.db"))


@pytest.fixture
def history(tmp_path):
    """Return an empty history in a file."""
    from vellum_nb import History

    with History(tmp_path / "runs.db") as opened:
        yield opened


@pytest.fixture(scope="session")
def forks():
    """Return what starts processes that have imported everything."""
    from fork_kit import ForkServer

    server = ForkServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres():
    """Return a PostgreSQL server that nothing else uses."""
    from private_postgres import PrivatePostgres

    server = PrivatePostgres()
    yield server
    server.close()


@pytest.fixture(scope="session")
def _postgres_template(postgres):
    """Return a database with the tables of a history and no rows."""
    from vellum_nb import History

    postgres.execute("CREATE DATABASE prepared")
    History(postgres.url("prepared")).close()
    return "prepared"


@pytest.fixture
def postgres_url(postgres, _postgres_template):
    """Return the URL of an empty history in PostgreSQL, which is gone with its test."""
    url = postgres.fresh(_postgres_template)
    yield url
    postgres.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """Return where a history lies: a file, or a database on a real server."""
    if request.param == "sqlite":
        return tmp_path / "shared-runs.db"
    return request.getfixturevalue("postgres_url")
