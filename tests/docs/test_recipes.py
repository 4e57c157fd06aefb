"""Every recipe of CONTRIBUTING.md works.

Its steps are applied to a copy of the checkout. A recipe without steps has its own test.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("vellum_nb", "tests", "docs", "conftest.py", "pyproject.toml")
TITLE = re.compile(r"^## Recipe: (.*)$", re.MULTILINE)
STEP = re.compile(
    r'^( *)<!-- run by test_recipes\.py: (\S+)(?: (before|after) "([^\n]*)")? -->\n'
    r" *```\w+\n(.*?)^\1```$",
    re.MULTILINE | re.DOTALL,
)


def sections():
    """Return the text of each recipe by its title."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("## Style")[0]
    _, *parts = TITLE.split(text)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def recipes():
    """Return the steps of each recipe: indent, path, "before" or "after", line, and text."""
    steps = {title: STEP.findall(section) for title, section in sections().items()}
    return {title: parts for title, parts in steps.items() if parts}


def test_a_recipe_without_steps_names_its_test():
    others = {title: text for title, text in sections().items() if title not in recipes()}
    tests = {title: re.search(r"`(tests/\S+\.py)`", text)[1] for title, text in others.items()}
    assert {title: (ROOT / path).exists() for title, path in tests.items()} == {
        "a history column": True,
        "an output type": True,
    }


def insert(path, where, line, text):
    """Insert `text` before or after the first line that starts with `line`, or append it."""
    source = path.read_text("utf-8") if path.exists() else ""
    if where:
        match = re.search(rf"^ *{re.escape(line)}.*\n", source, re.MULTILINE)
        assert match, f"{path.name} has no line {line!r}"
        position = match.start() if where == "before" else match.end()
    else:
        position = len(source)
    path.write_text(source[:position] + text + source[position:], "utf-8")


@pytest.fixture
def checkout(tmp_path):
    """Return a copy of the checkout."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "e2e", ".*")
            shutil.copytree(ROOT / part, tmp_path / part, ignore=ignored)
        else:
            shutil.copy(ROOT / part, tmp_path)
    return tmp_path


def test_recipes_work(checkout):
    """All are applied to one copy, so that ruff and pytest start once."""
    tests, changed = [], set()
    for title, steps in recipes().items():
        assert len(steps) >= 3, title
        for indent, path, where, line, block in steps:
            text = re.sub(rf"^{indent}", "", block, flags=re.MULTILINE)
            insert(checkout / path, where, line.replace(r"\"", '"'), text)
        _, path, _, _, text = steps[-1]
        (test,) = re.findall(r"def (test_\w+)", text)
        tests.append(f"{path}::{test}")
        changed |= {path for _, path, *_ in steps if path.endswith(".py")}
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    for command in (
        ["ruff", "check", "--no-cache", *sorted(changed)],
        ["ruff", "format", "--no-cache", "--check", *sorted(changed)],
        ["pytest", "-q", "-n0", "-p", "no:cacheprovider", *tests],
    ):
        subprocess.run([sys.executable, "-m", *command], cwd=checkout, env=environment, check=True)
