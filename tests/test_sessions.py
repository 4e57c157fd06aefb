"""The test session itself: tests run once, and leave no files in the checkout."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
LEAVES = "from pathlib import Path\ndef test_it(): Path(__file__).with_name('left.db').touch()"
CACHES = """
from pathlib import Path
def test_it():
    for name in (".mypy_cache", "build", "__pycache__"):
        folder = Path(__file__).with_name(name)
        folder.mkdir(exist_ok=True)
        (folder / "made").touch()
"""
FAILS_FIRST = """
attempts = []
def test_it():
    attempts.append(1)
    assert len(attempts) > {failures}, "too early"
"""


def run(folder, conftest, test, *options):
    """Run `test` with a copy of `conftest` in a session of its own; return status and output."""
    shutil.copy(conftest, folder / "conftest.py")
    (folder / "test_it.py").write_text(test)
    (folder / "pytest.ini").write_text("[pytest]\n")
    without = [f"-pno:{plugin}" for plugin in ("cacheprovider", "schemathesis", "nbval")]
    command = [sys.executable, "-m", "pytest", "-q", *without, *options]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    return done.returncode, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("test", "status", "workers"), [(CACHES, 0, "0"), (LEAVES, 1, "2")])
def test_session_that_leaves_a_file_in_the_checkout_fails(tmp_path, test, status, workers):
    returned, output = run(tmp_path, ROOT / "conftest.py", test, "-n", workers)
    assert returned == status
    assert ("left.db" in output) == bool(status)


@pytest.mark.slow
@pytest.mark.parametrize(("failures", "status"), [(1, 0), (2, 1)])
def test_rerun_is_printed(tmp_path, failures, status):
    test = FAILS_FIRST.format(failures=failures)
    returned, output = run(tmp_path, ROOT / "tests" / "conftest.py", test, "--reruns", "1")
    assert returned == status
    assert "failed at first: test_it.py::test_it" in output
    assert "AssertionError: too early" in output


def test_only_failed_browser_tests_run_again():
    printed = ["make", "--dry-run", "--always-make", "test", "check", "test-lowest", "coverage"]
    done = subprocess.run(printed, cwd=ROOT, capture_output=True, text=True, check=True)
    commands = [line for line in done.stdout.splitlines() if " -m pytest " in line]
    with_reruns = [line for line in commands if "--reruns 1 " in line]
    assert len(commands) >= 6
    assert with_reruns == [line for line in commands if " tests/e2e " in line]
    assert len(with_reruns) == 1


def test_no_test_is_marked_to_run_again():
    sources = {path: path.read_text("utf-8") for path in ROOT.glob("tests/**/*.py")}
    assert [path for path in sources if re.search(r"mark\.flaky\b", sources[path])] == []


def test_workflow_tests_every_supported_python_version():
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    prefix = "Programming Language :: Python :: 3."
    versions = [each.rpartition(" ")[2] for each in metadata["classifiers"] if prefix in each]
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text("utf-8"))
    job = workflow["jobs"]["test"]
    assert versions
    assert job["strategy"]["matrix"]["python-version"] == versions
    assert {"push", "pull_request"} <= set(workflow[True])  # `on` is true in YAML 1.1
    assert any(step.get("run", "").startswith("make test ") for step in job["steps"])
