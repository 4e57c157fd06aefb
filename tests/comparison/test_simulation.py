"""How often intervals hold and tests err: a small part of benchmarks/simulate_statistics.py."""

import importlib.util
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "simulate_statistics.py"


@pytest.fixture(scope="module")
def simulation():
    spec = importlib.util.spec_from_file_location(PATH.stem, PATH)
    module = sys.modules[PATH.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_intervals_hold_and_tests_err_as_seldom_as_they_say(simulation):
    for title in simulation.SCENARIOS:
        for number in (6, 40):
            found = simulation.simulate(title, number, times=150)
            # by more than three standard errors of so few comparisons
            assert not simulation.defects(found, margin=0.062), (title, number, found)
