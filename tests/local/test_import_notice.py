"""The notice while Vellum's SDK is imported for the first time."""

import sys
from subprocess import run

import pytest

PROGRAM = """
import sys
from contextlib import suppress
from threading import Thread
from vellum_nb.local.deployments import loading
loading._NOTICE_AFTER_S = 0.05
sys.path.insert(0, sys.argv[1])
def load():
    with loading.slow_import_notice(), suppress(ImportError):
        import {module}
threads = [Thread(target=load) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "announced"), [("vellum_nb.local.sdk.workflow", True), ("vellum", False)]
)
def test_only_a_slow_import_of_the_sdk_is_announced_once(module, announced, tmp_path):
    (tmp_path / "vellum.py").write_text("import time; time.sleep(1)")  # in place of the package
    program = [sys.executable, "-c", PROGRAM.format(module=module), str(tmp_path)]
    result = run(program, capture_output=True, text=True, check=True)
    notice = "Importing Vellum's Workflows SDK, which takes up to 10 s once per session…\n"
    assert result.stderr == (notice if announced else "")
