"""The process of a JupyterLab that keeps everything in one folder, as the browser tests need it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress

from ports_kit import free_port
from warm_kernels import warm_kernels

QUIET = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
SETTINGS = {
    "apputils-extension/notification": QUIET,
    "apputils-extension/themes": {"theme": "JupyterLab Light", "adaptive-theme": False},
    "notebook-extension/tracker": {"windowingMode": "none", "autoStartDefaultKernel": True},
}
# It covers the page for a moment after each change of the theme, and fails after two quick ones.
PAGE = {"disabledExtensions": {"@jupyterlab/apputils-extension:splash": True}}
OWN_FOLDERS = ["JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"]
OWN_FOLDERS += ["JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"]
OPTIONS = """
--no-browser --allow-root --ServerApp.ip=127.0.0.1 --ServerApp.port_retries=0
--IdentityProvider.token= --ServerApp.password= --ServerApp.disable_check_xsrf=True
--LabApp.expose_app_in_browser=True --JupyterNotebookApp.expose_app_in_browser=True
--LabApp.extension_manager=readonly
"""
# Each notebook lies in a folder of its own, which is where its kernel starts.
A_HISTORY_EACH = (
    "import os\nos.environ['VELLUM_NB_HISTORY'] = os.path.join(os.getcwd(), 'runs.db')\n"
)


@contextmanager
def lab_server(folder, *, python=sys.executable):
    """Run one JupyterLab that keeps everything in `folder`; yield its address."""
    env = _environment(folder)
    (root := folder / "notebooks").mkdir()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = [*OPTIONS.split(), f"--port={port}", f"--ServerApp.root_dir={root}"]
    log_path = folder / "jupyterlab.log"
    with log_path.open("wb") as log, warm_kernels(folder, env, python=python) as env:
        process = subprocess.Popen(
            [python, "-m", "jupyterlab", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=folder,
        )
        try:
            _wait_until_up(url, process, log_path)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _environment(folder):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("VELLUM_", "JUPYTER", "COV_"))}
    for name in OWN_FOLDERS:
        place = folder / name.lower()
        place.mkdir()
        env[name] = str(place)
    for name, settings in SETTINGS.items():
        file = folder / "jupyterlab_settings_dir" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings), encoding="utf-8")
    page = folder / "jupyter_config_dir" / "labconfig" / "page_config.json"
    page.parent.mkdir()
    page.write_text(json.dumps(PAGE), encoding="utf-8")
    startup = folder / "ipythondir" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-history.py").write_text(A_HISTORY_EACH, encoding="utf-8")
    return env


def _wait_until_up(url, process, log):
    deadline = time.monotonic() + 600  # a server that fails ends at once
    while time.monotonic() < deadline and process.poll() is None:
        with (
            suppress(urllib.error.URLError, ConnectionError, TimeoutError),
            urllib.request.urlopen(f"{url}/api/status", timeout=5),  # noqa: S310
        ):
            return
        time.sleep(0.1)
    msg = f"JupyterLab did not start; its log ends:\n{log.read_text(errors='replace')[-3000:]}"
    raise RuntimeError(msg)
