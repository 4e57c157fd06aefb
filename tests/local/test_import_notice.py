"""The notice while Vellum's SDK is imported for the first time."""

import sys
from subprocess import run

import pytest

PROGRAM = """
import sys, threading
from vellum_nb.local.deployments import loading
loading._NOTICE_AFTER_S = 0.05
sys.path.insert(0, sys.argv[1])
with loading.slow_import_notice():
    import {module}
"""


@pytest.mark.parametrize(("module", "announced"), [("vellum", True), ("other_module", False)])
def test_only_a_slow_import_of_the_sdk_is_announced(module, announced, tmp_path):
    (tmp_path / f"{module}.py").write_text("import time; time.sleep(1)")
    program = [sys.executable, "-c", PROGRAM.format(module=module), str(tmp_path)]
    result = run(program, capture_output=True, text=True, check=True)
    notice = "Importing Vellum's Workflows SDK, which takes up to 10 s once per session…\n"
    assert result.stderr == (notice if announced else "")
