"""What is installed: the wheel holds everything that is read at run time."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
READ_AT_RUN_TIME = {".css", ".csv", ".js", ".json", ".py", ".typed"}


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_file_of_the_package_the_tutorial_and_nothing_else(names):
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "vellum_nb").rglob("*")
        if path.suffix in READ_AT_RUN_TIME
    }
    assert files
    assert files <= names

    files = [path for path in (ROOT / "notebooks").iterdir() if path.suffix in {".ipynb", ".py"}]
    tutorial = {f"vellum_nb/notebooks/{path.name}" for path in files}
    assert tutorial
    assert tutorial <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"vellum_nb"}


def test_what_needs_the_local_server_brings_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert any(need.startswith("vellum-nb[local") for need in extras["sdk"])
