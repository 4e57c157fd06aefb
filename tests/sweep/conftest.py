import sys
from pathlib import Path

import pytest

from vellum_nb import History

sys.path.insert(0, str(Path(__file__).parent))  # for the kit


@pytest.fixture
def history(tmp_path):
    with History(tmp_path / "runs.db") as opened:
        yield opened
