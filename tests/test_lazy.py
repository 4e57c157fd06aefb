"""jsonschema is imported without the grammar of IRIs, which takes a second to build."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

IMPORTS = {
    "checks": """
from vellum_nb.models.inputs import schema_problem
schema_problem(200, {"type": "integer"})
""",
    "charts": """
from vellum_nb.comparison.duels import charts_required
with charts_required():
    import altair
""",
    "SDK": """
import vellum_nb as vnb
with vnb.connect("local", history=":memory:") as ws:
    ws.run("feedback-digest", {"comments": ["Great!"]}, release_tag="v1")
""",
}
LOADED = 'import sys\nprint("jsonschema" in sys.modules, "rfc3987_syntax" in sys.modules)'
IRIS = """
from jsonschema import FormatChecker
for iri in ("http://é.org/a", "http://é.org/a b"):
    print(FormatChecker(["iri"]).conforms(iri, "iri"))
"""


def printed(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("code", IMPORTS.values(), ids=IMPORTS)
def test_jsonschema_is_imported_without_the_grammar(code):
    assert printed(code + LOADED) == ["True", "False"]


@pytest.mark.skipif(find_spec("rfc3987_syntax") is None, reason="comes with JupyterLab")
def test_others_still_check_iris():
    assert printed(IMPORTS["checks"] + IRIS) == ["True", "False"]
