"""``vellum-nb lab``: JupyterLab on the notebooks."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from vellum_nb.cli.printing import say
from vellum_nb.errors import VellumNBError

_PACKAGE = Path(__file__).parents[1]


def lab(args: argparse.Namespace) -> int:
    """Replace this process by JupyterLab."""
    if importlib.util.find_spec("jupyterlab") is None:
        msg = 'JupyterLab is not installed: pip install "vellum-nb[lab]"'
        raise VellumNBError(msg)
    folder = _notebooks(args.folder)
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder.resolve()}"]
    command += ["--LabApp.extension_manager=readonly", "--ServerApp.answer_yes=True"]
    command += [f"--LabApp.default_url=/lab/tree/{first.name}" for first in _first(folder)]
    if args.port is not None:
        command.append(f"--port={args.port}")
    if args.no_browser:
        command.append("--no-browser")
    if getattr(os, "geteuid", lambda: 1)() == 0:
        command.append("--allow-root")
    environment = os.environ | {"JUPYTER_CONFIG_PATH": _lab_settings()}
    if os.name != "nt":  # JupyterLab gets signals such as Ctrl-C directly
        os.execve(sys.executable, command, environment)  # noqa: S606 - our own arguments, no shell
    return subprocess.call(command, env=environment)  # noqa: S603 - likewise


def _lab_settings() -> str:
    """Return the settings path of JupyterLab, with ours, which disable its news prompts."""
    user_path = os.environ.get("JUPYTER_CONFIG_PATH")
    package_path = str(_PACKAGE / "jupyter")
    return f"{package_path}{os.pathsep}{user_path}" if user_path else package_path


def _first(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.ipynb"))[:1]


def _notebooks(folder: str | None) -> Path:
    """Return the folder of notebooks; copy the tutorials into an empty one."""
    path = Path(folder or "notebooks")
    ours = _PACKAGE / "notebooks"
    if not any(path.glob("*.ipynb")) and ours.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        for file in (*ours.glob("*.ipynb"), *ours.glob("*.py")):  # modules that they import
            shutil.copyfile(file, path / file.name)
        say(f"Copied the tutorial notebooks to {path}")
    return path
