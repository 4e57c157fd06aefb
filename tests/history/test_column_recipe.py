"""The recipe for a history column in CONTRIBUTING.md, executed on a copy of the package."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vellum_nb as vnb

ROOT = Path(vnb.__file__).parents[1]
USE = """
import sys
import vellum_nb as vnb

old, folder = sys.argv[1:]
with vnb.History(old) as history:
    run = history.runs()[0]
    begun = run.model_copy(update={"id": "new", "external_id": None, "state": "STARTED"})
    history.begin(begun)
    history.finish(begun.model_copy(update={"state": "FULFILLED", "region": "eu"}))
    frame = history.frame()
    assert frame.set_index("id")["region"].dropna().to_dict() == {"new": "eu"}
    assert list(frame.columns).index("region") == list(frame.columns).index("model") + 1
    for read, path in [
        (vnb.read_csv, history.to_csv(f"{folder}/runs.csv")),
        (vnb.read_jsonl, history.to_jsonl(f"{folder}/runs.jsonl")),
    ]:
        assert read(path).equals(history.frame())
    with vnb.History(":memory:") as other:
        other.merge(history)
        assert other.get("new").region == "eu"
assert vnb.check_history(old).ok
"""


def code_after(text, words):
    """Return the code of the recipe that follows `words`."""
    return re.search(rf"{re.escape(words)}\s+`([^`]+)`", text)[1]


def add_line(path, after, line):
    text = path.read_text(encoding="utf-8")
    assert text.count(after) == 1
    path.write_text(text.replace(after, f"{after}    {line}\n"), encoding="utf-8")


@pytest.fixture
def changed_package(tmp_path):
    """Return a folder with a copy of the package in which the recipe was followed."""
    recipe = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    recipe = recipe.partition("## Recipe: a history column")[2].partition("\n## ")[0]
    package = shutil.copytree(ROOT / "vellum_nb", tmp_path / "copy" / "vellum_nb")
    field = code_after(recipe, "in `models/run.py`, such as")
    add_line(package / "models" / "run.py", "    model: str | None = None\n", field)
    column = code_after(recipe, "at its place in the frame, such as")
    after = '    "model": Column("text", "finish", is_late=True),\n'
    add_line(package / "history" / "schema.py", after, column)
    return package.parent


@pytest.mark.slow
def test_column_of_the_recipe_is_stored_shown_exported_and_merged(
    changed_package, tmp_path, path, put
):
    with vnb.History(path) as history:
        put(history)
    command = [sys.executable, "-c", USE, str(path), str(tmp_path)]
    done = subprocess.run(command, cwd=changed_package, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "upgraded from version 5 to 6" in done.stderr
