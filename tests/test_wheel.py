"""Contents of the packages, reproducible builds, and the installed wheel."""

import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
READ_AT_RUN_TIME = {".css", ".csv", ".js", ".json", ".py", ".typed"}


def build(folder):
    """Build the sdist and, from it, the wheel."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def names(packages):
    with zipfile.ZipFile(packages[1]) as archive:
        return set(archive.namelist())


def test_wheel_contains_the_package_with_its_tutorial(names):
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "vellum_nb").rglob("*")
        if path.suffix in READ_AT_RUN_TIME
    }
    notebooks = (ROOT / "notebooks").iterdir()
    tutorial = {f"vellum_nb/notebooks/{x.name}" for x in notebooks if x.suffix in {".ipynb", ".py"}}
    assert files
    assert tutorial
    assert files | tutorial <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"vellum_nb"}


def test_sdist_contains_the_files_of_its_tests(packages):
    with tarfile.open(packages[0]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    needed = {
        path.relative_to(ROOT).as_posix()
        for folder in ("tests", "benchmarks", "requirements", ".ci")
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
        and not any(part.startswith((".", "__")) for part in path.relative_to(ROOT / folder).parts)
    }
    # The root's conftest.py keeps the user's key and history out of the tests.
    assert needed | {"conftest.py", "Makefile", "pyproject.toml", "README.md"} <= held
    assert [name for name in held if "/." in name] == []


@pytest.mark.slow
def test_builds_are_reproducible(packages, tmp_path):
    again = build(tmp_path)
    for first, second in zip(packages, again, strict=True):
        assert first.name == second.name
        assert hashlib.sha256(first.read_bytes()).digest() == (
            hashlib.sha256(second.read_bytes()).digest()
        )


@pytest.mark.slow
def test_wheel_runs_the_quickstart_in_a_fresh_environment(packages, tmp_path):
    uv = Path(sys.executable).with_name("uv")
    python = tmp_path / "venv" / "bin" / "python"
    cache = subprocess.check_output([uv, "cache", "dir"], text=True).strip()
    environment = os.environ | {"HOME": str(tmp_path), "UV_CACHE_DIR": cache}
    constraints = ["--constraint", str(ROOT / "requirements" / "dev.lock")]
    package = f"vellum-nb[local] @ {packages[1].as_uri()}"
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv"],
        [uv, "pip", "install", "--quiet", "--python", python, *constraints, package, "nbformat"],
    ):
        subprocess.run(command, check=True, env=environment, cwd=tmp_path)
    find = "import vellum_nb.notebooks as n; print(*n.__path__)"
    folder = subprocess.check_output([python, "-c", find], cwd=tmp_path, text=True).strip()
    assert folder.startswith(str(tmp_path))
    notebook = Path(folder) / "01_quickstart.ipynb"
    done = subprocess.run(
        [python, "-m", "IPython", "--colors=NoColor", notebook],
        env=environment | {"VELLUM_NB_HISTORY": str(tmp_path / "runs.db")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert (tmp_path / "runs.db").exists()
