"""Public names: imports, reference and docstrings."""

import doctest
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pandas as pd
import pytest

import vellum_nb
from vellum_nb.comparison.cases import Case
from vellum_nb.comparison.charts import Chart, Picture
from vellum_nb.sweep.options import SweepOptions

ROOT = Path(__file__).parent.parent
HEAVY = {"pandas", "ipywidgets", "requests", "pydantic", "fastapi", "anywidget", "uvicorn"}


@pytest.mark.parametrize("name", vellum_nb.__all__)
def test_public_name_can_be_imported(name):
    assert getattr(vellum_nb, name) is not None


def public_callables():
    for name in vellum_nb.__all__:
        value = getattr(vellum_nb, name)
        yield name, value
        for member in dir(value):
            method = inspect.getattr_static(value, member)
            function = getattr(method, "fget", getattr(method, "__func__", method))
            is_ours = str(getattr(function, "__module__", "")).startswith("vellum_nb")
            if is_ours and (member == "__init__" or not member.startswith("_")):
                yield f"{name}.{member}", function


def test_type_hints_of_public_names_can_be_read():
    imported_on_first_use = {name: getattr(vellum_nb, name) for name in vellum_nb.__all__}
    names = {**imported_on_first_use, "pd": pd, "Case": Case, "Chart": Chart, "Picture": Picture}
    unreadable = {}
    for name, function in public_callables():
        try:
            if not inspect.ismodule(function):
                get_type_hints(function, localns=names)
        except (NameError, TypeError) as exc:
            unreadable[name] = str(exc)
    assert unreadable == {}


def test_dir_lists_the_public_names():
    assert dir(vellum_nb) == sorted(vellum_nb.__all__)
    with pytest.raises(AttributeError, match="'Workflow'; available: connect, "):
        _ = vellum_nb.Workflow


def test_import_loads_no_heavy_package():
    code = "import vellum_nb, sys, json; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert HEAVY.isdisjoint(json.loads(out.stdout))


@pytest.fixture(scope="module")
def reference():
    return "\n".join(path.read_text("utf-8") for path in (ROOT / "docs" / "reference").glob("*.md"))


def test_every_public_name_has_a_heading_or_a_row_in_the_reference(reference):
    headings = set(re.findall(r"^(?:#+|\|) `([A-Za-z_]+)`", reference, re.MULTILINE))
    assert set(vellum_nb.__all__) <= headings


@pytest.mark.parametrize(
    "name", ["Workspace", "Client", "History", "LocalServer", "Comparison", "Sweep", "SweepPlan"]
)
def test_every_public_method_is_in_the_reference(name, reference):
    methods = [method for method in dir(getattr(vellum_nb, name)) if not method.startswith("_")]
    assert methods
    missing = [method for method in methods if not re.search(rf"[`.]{method}\b", reference)]
    assert missing == []


@pytest.mark.parametrize("kind", [SweepOptions, vellum_nb.Limits, vellum_nb.StopWhen])
def test_every_option_of_a_sweep_is_in_the_reference(kind, reference):
    names = kind.__dataclass_fields__
    assert [name for name in names if not re.search(rf"`{name}[`=]", reference)] == []


def test_every_field_of_a_run_is_in_the_reference(reference):
    assert [name for name in vellum_nb.Run.model_fields if f"`{name}`" not in reference] == []


def test_every_error_is_in_the_reference(reference):
    for name in _modules():
        importlib.import_module(name)
    kinds = [vellum_nb.VellumNBError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        assert kind.__name__ in reference


def test_package_is_typed():
    assert (Path(vellum_nb.__file__).parent / "py.typed").is_file()


def _modules():
    found = pkgutil.walk_packages(vellum_nb.__path__, "vellum_nb.")
    return [module.name for module in found if not module.name.endswith("__main__")]


@pytest.mark.parametrize("name", _modules())
def test_the_examples_in_docstrings_run(name, monkeypatch, tmp_path):
    monkeypatch.delenv("VELLUM_API_KEY", raising=False)
    monkeypatch.setenv("VELLUM_NB_HISTORY", str(tmp_path / "runs.db"))
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testmod(module, optionflags=options)
    assert result.failed == 0
