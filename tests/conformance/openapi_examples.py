"""Sends valid and invalid examples of the OpenAPI document to a local server.

``python tests/conformance/openapi_examples.py 2000`` sends 2,000 examples made by schemathesis
and prints the number of each status. The seeds are fixed.
"""

import json
import sys
import warnings
import zlib
from collections import Counter
from pathlib import Path

import hypothesis
import jsonschema
import requests
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "local"))
sys.path.insert(0, str(Path(__file__).parents[1] / "local" / "prompts"))

from conformance_kit import close, deploy_all, official, run, text
from openai_kit import model_server

from vellum_nb.local import LocalServer

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
NDJSON = "application/x-ndjson"
TEXT = {"name": "text", "type": "STRING", "value": "hällo"}
INPUTS = {
    "echo": [TEXT],
    "echo-json": [{"name": "value", "type": "JSON", "value": [None]}],
    "talk": [TEXT],
    "every-type": [],
    "converse": [{**TEXT, "name": "message"}],
    "refuse": [TEXT],
    "hällo wörld": [TEXT],
}
NAMES = tuple(INPUTS)


class Examples:
    """Examples for the operations of one server."""

    def __init__(self, server, session):
        self._session = session
        self._session.trust_env = False
        self._key = {"X-API-KEY": server.api_key}
        self._url = server.url
        self._document = self._session.get(f"{server.url}/openapi.json", timeout=20).json()
        # Requests without the key are refused before they are read, as other tests check.
        open_ = {k: v for k, v in self._document.items() if k != "security"}
        self._schema = schemathesis.openapi.from_dict(open_)
        self._known = _known(server)
        self.statuses = Counter()  # of (operation, status)

    def run(self, total):
        """Send at least `total` examples, equally many for each operation.

        Operations without parameters have one example per round.
        """
        seed = 0
        while self.statuses.total() < total:
            for operation in self._schema.get_all_operations():
                for mode in schemathesis.GenerationMode:
                    self.ask(operation.ok(), mode, seed)
            seed += 1
        return self.statuses

    def ask(self, operation, mode, seed):
        """Send five examples of one mode."""
        try:
            strategy = operation.as_strategy(generation_mode=mode)
        except schemathesis.errors.SchemathesisError:  # it has no invalid examples
            return

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=5,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(strategy)
        def example(case):
            self._example(case, truthful=mode is schemathesis.GenerationMode.POSITIVE)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of the generators are not ours
            try:
                example()
            except hypothesis.errors.Unsatisfiable:
                return

    def _example(self, case, *, truthful):
        self._anchor(case, truthful=truthful)
        answer = case.call(self._url, self._session, headers=self._key, timeout=20)
        self.statuses[case.operation.label, answer.status_code] += 1
        lines = answer.headers.get("content-type", [""])[0] == NDJSON
        case.validate_response(answer, checks=CHECKS[:-1] if lines else CHECKS)
        if lines:
            self._check_lines(case, answer.content)

    def _check_lines(self, case, content):
        operation = self._document["paths"][case.operation.path][case.operation.method.lower()]
        schema = operation["responses"]["200"]["content"][NDJSON]["schema"]
        whole = {**schema, "components": self._document["components"]}
        validator = jsonschema.Draft202012Validator(whole)
        lines = content.splitlines()
        assert lines, "a stream without any event"
        for line in lines:
            validator.validate(json.loads(line))

    def _anchor(self, case, *, truthful):
        """Replace most generated names with existing ones."""
        dice = zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode())
        if dice % 4 == 0:
            return
        kind = "file" if "uploaded-files" in case.operation.path else "deployment"
        places = self._known[kind]
        for name in case.path_parameters or ():
            case.path_parameters[name] = places[dice % len(places)][name]
        if not truthful:
            return
        if isinstance(case.body, dict):
            self._anchor_body(case.body, case.operation.path, dice)
        if "filters" in (case.query or {}):
            case.query["filters"] = _filters(case.query["filters"])

    def _anchor_body(self, body, path, dice):
        if path.startswith("/v1/execute-workflow"):
            name = NAMES[dice % len(NAMES)]
            body["workflow_deployment_name"] = name
            for other in ("workflow_deployment_id", "release_tag"):
                body.pop(other, None)
            if dice % 3:
                body["inputs"] = INPUTS[name]
        elif path.endswith("/execute-stream") and dice % 3:
            body.pop("release_tag", None)
            body["inputs"] = {"text": "hällo"}
        elif "actuals" in body:
            body.pop("external_id", None)
            body["execution_id"] = self._known["deployment"][0]["execution_id"]
            for actual in body["actuals"]:
                actual.pop("output_id", None)
                actual["output_key"] = "output"


def _filters(value):
    """Return a valid filter for any text."""
    condition = {
        "type": "LOGICAL_CONDITION",
        "lhs_variable": {"type": "STRING", "value": "external_id"},
        "operator": "!=",
        "rhs_variable": {"type": "STRING", "value": str(value)},
    }
    group = {"type": "LOGICAL_CONDITION_GROUP", "combinator": "AND", "negated": False}
    return json.dumps({**group, "conditions": [condition]})


def _known(server):
    """Execute some workflows; return values of path parameters that fit each other."""
    client = official(server)
    places = []
    for name in ("echo", "refuse", "hällo wörld", "converse"):
        given = text("x", "message" if name == "converse" else "text")
        ran = run(client, name, given).execution_id
        tag = "production" if name == "hällo wörld" else "LATEST"
        tags = dict.fromkeys(("name", "release", "item"), tag)
        places.append({"id": name, "execution_id": ran, "span_id": ran, **tags})
    file = client.uploaded_files.create(file=b"x").id
    close(client)
    return {"deployment": places, "file": [{"id": str(file)}]}


def ask(total):
    """Send examples to a new server; count the statuses of each operation."""
    with model_server() as model, LocalServer() as server, requests.Session() as session:
        deploy_all(server)
        server.models(base_url=model.url, model="tiny")
        return Examples(server, session).run(total)


if __name__ == "__main__":
    by_status = Counter()
    for (_, status), number in ask(int(sys.argv[1])).items():
        by_status[status] += number
    print(sorted(by_status.items()))  # noqa: T201 - it is a command
