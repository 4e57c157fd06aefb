"""What schemathesis makes of the OpenAPI document is answered as the document says.

The whole of it, 2,000 examples: ``python tests/conformance/openapi_examples.py 2000``.
"""

import jsonschema
import pytest
import requests
from openapi_examples import ask


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what the generators warn about is not ours
def test_no_example_is_a_5xx_or_outside_the_schema():
    found = ask(200)
    assert found.total() >= 200
    assert len({operation for operation, _ in found}) >= 29
    statuses = {status for _, status in found}
    assert {200, 201, 400, 404} <= statuses
    assert max(statuses) < 500


def test_document_is_valid_openapi(server):
    document = requests.get(f"{server.url}/openapi.json", timeout=20).json()
    assert document["openapi"].startswith("3.1")
    references = {text for text in _strings(document) if text.startswith("#/components/")}
    for reference in references:
        *_, kind, name = reference.split("/")
        schema = document["components"][kind][name]
        jsonschema.Draft202012Validator.check_schema(schema)
    operations = [(method, path) for path, found in document["paths"].items() for method in found]
    assert len(operations) >= 29


def _strings(content):
    if isinstance(content, str):
        yield content
    for item in content.values() if isinstance(content, dict) else ():
        yield from _strings(item)
    for item in content if isinstance(content, list) else ():
        yield from _strings(item)
