"""``vellum-nb lab``: a real JupyterLab that asks nothing and ends with its kernels."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from ports_kit import free_port
from urllib3.util import Retry

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+(/lab/\S*)?\?token=\w+")
PAGE_CONFIG = re.compile(
    r'<script id="jupyter-config-data" type="application/json">(.*?)</script>', re.DOTALL
)


def wait_for_address(process):
    for line in process.stderr:
        found = ADDRESS.search(line)
        if found:
            return found.group(0)
    raise AssertionError(process.wait())


def read(address):
    """Return the page; the address is printed a moment before the port is listened on."""
    with requests.Session() as session:
        again = Retry(connect=20, backoff_factor=0.05, backoff_max=1)
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=again))
        return session.get(address, timeout=120).text


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_lab_serves_the_notebooks_asks_nothing_and_ends_at_one_signal(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    notebook = Path(__file__).parents[2] / "notebooks" / "01_quickstart.ipynb"
    (folder / notebook.name).write_bytes(notebook.read_bytes())
    own = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    typed = [sys.executable, "-m", "vellum_nb", "lab", str(folder), "--no-browser"]
    # Without a terminal, JupyterLab relies on KeyboardInterrupt, which a finalizer can swallow.
    terminal, stdin = os.openpty()
    pipes = {"stdin": stdin, "stderr": subprocess.PIPE, "text": True}
    typed.append(f"--port={free_port()}")
    with subprocess.Popen(typed, **pipes, env=os.environ | own) as process:
        try:
            address = wait_for_address(process)
            assert "/lab/tree/01_quickstart.ipynb" in address
            page = read(address)
            config = json.loads(PAGE_CONFIG.search(page).group(1))
            assert "@jupyterlab/apputils-extension:announcements" in config["disabledExtensions"]
            process.send_signal(signal.SIGINT)
            assert process.stderr.read().endswith("\n")
            assert process.wait(120) == 0
        finally:
            process.kill()
            os.close(stdin)
            os.close(terminal)
