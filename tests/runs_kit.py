"""Runs made by hand, each later than the one before."""

from datetime import UTC, datetime, timedelta
from itertools import count

from IPython.core.formatters import DisplayFormatter

from vellum_nb.models import Run, case_id

_NUMBERS = count(1)


def later_run(tag, inputs, outputs, /, **fields):
    number = next(_NUMBERS)
    known = {
        "id": str(number),
        "deployment": "triage",
        "release_tag": tag,
        "timestamp": datetime(2026, 11, 24, tzinfo=UTC) + timedelta(seconds=number),
        "inputs": inputs,
        "outputs": outputs,
        "case_id": case_id(inputs),
        "state": "FULFILLED",
    }
    return Run(**(known | fields))


def bundle_of(value):
    """Return what a notebook stores of `value`, by its media types."""
    data, _ = DisplayFormatter().format(value)
    assert isinstance(data, dict)
    return data


def html_of(value):
    """Return what a notebook shows of `value`."""
    return str(bundle_of(value)["text/html"])
