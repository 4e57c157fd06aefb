"""No request is answered with 5xx: hostile bodies, archives, paths and queries to every route."""

import gzip
import io
import itertools
import json
import re
import tarfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any, NamedTuple

import pytest
from execution_kit import archive, by, inputs

from vellum_nb.local import LocalServer

PUSH = "/v1/workflows/push"
HIDDEN = [
    ("GET", "/files/{id}"),
    ("GET", "/vembda-public/cancel-workflow-execution-status/{execution_id}"),
    ("GET", "/openapi.json"),
]
DEPTHS = (10, 200, 201, 400, 900, 5_000, 100_000)
BIG = "9" * 10_000
STRANGE = [
    *(None, True, 0, -1, 1.5, 10**40, -(10**400), 1e308, "", " ", "\0", "\ud800", "\uffff"),
    *("..", "a/b", "x" * 100_000, BIG, [], [[]], [None], {}, {"": None}, {"\ud800": "\udfff"}),
    *([{"name": "text"}], [{"name": 1, "type": "JSON", "value": {}}], "vellum:uploaded-file:\0"),
]  # fmt: skip


def echo(text: str) -> str:
    return text


def plain(data: dict[str, Any] | None = None) -> Any:
    return data


def deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.fixture(scope="module")
def hostile_server():
    with LocalServer(timeout=5, body_limit=2**20) as server:
        for function in (echo, plain, deep):
            server.deploy(function, release_tags=["v1"])
        server.deploy({"workflow.py": b"def copied(x: str) -> str: return x"})
        yield server


@pytest.fixture
def api(hostile_server, asking):
    return asking(hostile_server)


class Route(NamedTuple):
    """A route with ids that exist in its path, and the names of its parameters and fields."""

    method: str
    path: str
    parameters: list[str]
    fields: list[str]


def fields_of(operation, schemas):
    """Return the names of the fields in the JSON body of an operation."""
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    return list(schema.get("properties", ()))


@pytest.fixture
def routes(api):
    """Return every route; those without a documented body get one all the same."""
    document = api.get("/openapi.json").json()
    execution = api.ask("echo").json()["execution_id"]
    file = api.call("POST", "/v1/uploaded-files", files={"file": ("a", b"b")}).json()["id"]

    def filled(path):
        names = {
            "execution_id": execution,
            "span_id": execution,
            "id": file if "files" in path else "echo",
        }
        return re.sub(r"\{(\w+)\}", lambda match: names.get(match[1], "LATEST"), path)

    routes = [Route(method, filled(path), ["expires", "token"], []) for method, path in HIDDEN]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parameters = [
                each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"
            ]
            fields = fields_of(operation, document["components"]["schemas"])
            routes.append(Route(method.upper(), filled(path), parameters, fields))
    assert len(routes) > 25
    return routes


def check(answer, what):
    assert answer.status_code < 500, f"{what}: {answer.status_code} {answer.text[:300]}"


def nested(depth: int) -> Iterator[str]:
    """Yield JSON that is nested so deep: alone, and in every place of a request."""
    lists = "[" * depth + "]" * depth
    for value in (
        lists,
        '{"a":' * depth + "1" + "}" * depth,
        '{"parent":' * depth + "{}" + "}" * depth,
    ):
        yield value
        for name, more in (
            ("metadata", f'{{"deep": {value}}}'),
            ("metadata", f'{{"node_output_mocks": [{{"deep": {value}}}]}}'),
            ("execution_context", f'{{"parent_context": {value}}}'),
            ("parameters", f'{{"deep": {value}}}'),
            ("blocks", f"[{value}]"),
        ):
            body = {
                "workflow_deployment_name": "echo",
                "inputs": inputs(text=("STRING", "a")),
                "ml_model": "m",
                "blocks": [],
            }
            del body["blocks" if name == "blocks" else "ml_model"]
            yield f'{json.dumps(body)[:-1]}, "ml_model": "m", "{name}": {more}}}'
        for kind in ("JSON", "STRING", "CHAT_HISTORY", "IMAGE"):
            given = f'[{{"name": "data", "type": "{kind}", "value": {value}}}]'
            yield f'{{"workflow_deployment_name": "plain", "inputs": {given}}}'
        yield f'{{"inputs": {{"data": {value}, "text": {value}}}}}'
        actual = f'{{"output_key": "output", "metadata": {value}}}'
        yield f'{{"external_id": "x", "actuals": [{actual}]}}'


@pytest.mark.slow
@pytest.mark.parametrize("depth", DEPTHS)
def test_nested_json(api, routes, depth):
    for method, path, *_ in routes:
        if method != "GET":
            for number, body in enumerate(nested(depth)):
                headers = {"Content-Type": "application/json"}
                answer = api.call(method, path, data=body, headers=headers)
                check(answer, f"{method} {path}, body {number} of depth {depth}")
                too_deep = depth > 200 and "/execute" in path and answer.status_code < 400
                assert not too_deep, (path, number, answer.text[:200])


@pytest.mark.slow
def test_strange_values(api, routes):
    valid = {
        "workflow_deployment_name": "echo",
        "inputs": inputs(text=("STRING", "a")),
        "ml_model": "m",
        "blocks": [],
        "external_id": "x",
        "actuals": [],
    }
    for method, path, _, fields in routes:
        for name, value in itertools.product(fields, STRANGE):
            answer = api.call(method, path, json={**valid, name: value})
            check(answer, f"{method} {path}, {name}={value!r:.40}")


BODIES = (
    b"",
    b"\xff",
    b"\xef\xbb\xbf{}",
    b"{}{}",
    b"nul",
    BIG.encode(),
    b'{"a": 1e999}',
    b"NaN",
    b'"\\ud800"',
)
KINDS = (
    "application/json", "text/plain", "multipart/form-data", "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded", "application/json; charset=\xff",
)  # fmt: skip


@pytest.mark.slow
def test_strange_bodies(api, routes):
    for method, path, *_ in routes:
        for body, kind in itertools.product(BODIES if method != "GET" else (), KINDS):
            answer = api.call(method, path, data=body, headers={"Content-Type": kind})
            check(answer, f"{method} {path}, body {body[:20]!r} as {kind}")


QUERIES = (
    *(
        "",
        "-1",
        "0",
        "1",
        BIG,
        "9223372036854775807",
        "9223372036854775808",
        "1e5",
        "NaN",
        "null",
        "\0",
    ),
    *("a" * 1000, "../..", "%", "[" * 5000, "-timestamp", "\U0001f600"),
)
FILTERS = (
    by("timestamp", ">", 1e300),
    by("timestamp", ">", int(BIG[:400])),
    by("timestamp", "<", "9999-12-31T23:59:59-23:59"),
    by("timestamp", "==", "0001-01-01T00:00:00+23:59"),
    by("metadata", "==", {"a": deep(500)}),
    by("metadata", "contains", {"\0": deep(150)}),
    by("external_id", "contains", "\0\ud800"),
)


@pytest.mark.slow
def test_strange_queries(api, routes):
    for method, path, parameters, _ in routes:
        for name in parameters:
            for value in QUERIES + (FILTERS if name == "filters" else ()):
                answer = api.call(method, path, params={name: value})
                check(answer, f"{method} {path}?{name}={value!r:.60}")


@pytest.mark.slow
def test_strange_paths_and_headers(api, routes):
    host = api.server.url.removeprefix("http://")
    strange = [
        "%00",
        "%ff",
        "%ed%a0%80",
        "..",
        "%2e%2e%2f",
        "x" * 5000,
        BIG,
        str(uuid.uuid4()),
        "%F0%9F%98%80",
        "'",
        "%",
    ]
    paths = {"/", "//", "/%00", "/v1/%ff", "/?%ff=%00"}
    for _, path, *_ in routes:
        parts = path.split("/")
        for number in range(2, len(parts)):
            paths |= {"/".join([*parts[:number], text, *parts[number + 1 :]]) for text in strange}
    headers = {"Host": host, "X-API-KEY": api.server.api_key, "Accept": "\xff", "Cookie": "\xff=;"}
    with closing(HTTPConnection(host, timeout=120)) as connection:
        for path, method in itertools.product(sorted(paths), ("GET", "POST", "PUT")):
            connection.putrequest(method, path, skip_host=True)
            for name, value in headers.items():
                connection.putheader(name, value.encode("latin-1"))
            connection.putheader("Content-Length", "0")
            connection.endheaders()
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status < 500, (method, path[:80], answer.status, content[:200])


def tar(*members: tuple[str, bytes, dict[str, Any]], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content, fields in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zipped(content: bytes) -> bytes:
    return gzip.compress(content, 1, mtime=0)


def pax(**headers: str) -> dict[str, Any]:
    return {"pax_headers": {name.replace("_", "."): value for name, value in headers.items()}}


def link(kind: bytes, target: str) -> dict[str, Any]:
    return {"type": kind, "linkname": target}


OK = ("workflow.py", b"def f(x: str) -> str: return x", {})
NAMES = ("", ".", "/", "a//b.py", "a/../b.py", "\n.py", "a\0b.py", "é.py", "con.py", "a.py/")
KINDS_OF_LINK = (
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.FIFOTYPE,
    tarfile.CHRTYPE,
    tarfile.DIRTYPE,
)
SPARSE = pax(GNU_sparse_major="1", GNU_sparse_minor="0", GNU_sparse_realsize="-5")
MEMBERS = {
    "names": [(name, b"", {}) for name in NAMES],
    "links": [(f"{kind!r}.py", b"", link(kind, "/etc/passwd")) for kind in KINDS_OF_LINK],
    "links to themselves": [
        (f"{kind!r}.py", b"", link(kind, f"{kind!r}.py")) for kind in KINDS_OF_LINK[:2]
    ],
    "links in a chain": [
        (f"{n}.py", b"", link(tarfile.LNKTYPE, f"{n + 1}.py")) for n in range(2_000)
    ],
    "sparse": [("s.py", b"x", SPARSE)],
    "sparse map": [("s.py", b"9\n9999\n1\n", pax(GNU_sparse_map="a,b", GNU_sparse_size="x"))],
    "headers": [("h.py", b"x", pax(size=BIG, mtime="x", uid="-1", path="../h.py"))],
    "negative size": [("h.py", b"x", pax(size="-1000"))],
}


def chained_headers() -> bytes:
    members = ((str(n), b"", {"type": tarfile.XGLTYPE}) for n in range(3_000))
    return zipped(b"".join(tar(member)[:512] for member in members))


ARCHIVES: dict[str, bytes | Callable[[], bytes]] = {  # what takes long is made by its test
    "1,500 folders": archive({"/".join(["d"] * 1_500) + "/workflow.py": "x = 1"}),
    "1,500 long folders": archive({"/".join(["d" * 200] * 1_500) + "/workflow.py": "x = 1"}),
    "50 folders": archive({"/".join(["d"] * 50) + "/a.py": "", "workflow.py": OK[1].decode()}),
    "many files": lambda: archive({f"f{number}.py": "" for number in range(5_000)}),
    **{name: zipped(tar(OK, *members)) for name, members in MEMBERS.items()},
    "file headers": lambda: zipped(tarfile.TarInfo("x").tobuf() * 3_000),
    "long names": zipped(tar((f"{'n' * 5_000}.py", b"", {}), form=tarfile.GNU_FORMAT)),
    "chained headers": chained_headers,
    "file and folder": archive({"workflow.py": "", "workflow.py/a.py": ""}),
    "not a tar": zipped(b"\0" * 100_000 + b"x" * 1000),
    "cut off": archive({"workflow.py": "x = 1" * 1000})[:-20],
    "damaged": archive({"workflow.py": "x = 1" * 1000})[:40] + b"\xff" * 40,
    "empty": b"",
    "plain tar": tar(OK),
    "two archives": archive({"workflow.py": "x = 1"}) * 2,
}
SOURCES = {
    "brackets": "(" * 5_000 + ")" * 5_000,
    "operators": "x = " + "-" * 50_000 + "1",
    "attributes": "x = a" + ".b" * 50_000,
    "sums": "x = 1" + " + 1" * 50_000,
    "blocks": "\n".join(" " * n + "if x:" for n in range(200)),
    "NUL": "x = '\0'",
    "number": f"x = {BIG}",
    "recursion": "def f(): f()\nf()",
    "deep value": """
def f(x=None): pass
value = 0
for _ in range(5000): value = [value]
f.__defaults__ = (value,)
""",
    "deep type": """
def f(x): pass
kind = int
for _ in range(3000): kind = list[kind]
f.__annotations__ = {"x": kind}
""",
    "recursive type": """
from typing import List, Union
J = Union[int, List["J"]]
def f(x: J) -> str: return ""
""",
    "interrupt": "raise KeyboardInterrupt",
    "generator exit": "raise GeneratorExit",
    "base exception": "class E(BaseException):\n def __str__(self): raise self\nraise E",
    "stop iteration": "raise StopIteration",
    "exit": "import sys\nsys.exit(1)",
    "odd name": "def f(x): pass\nf.__name__ = 'a/b'\nf.__doc__ = '\\ud800'",
    "odd signature": "def f(x): pass\nf.__signature__ = 1",
    "hostile module": "def __getattr__(name): raise RecursionError(name)",
    "hostile validator": """
from typing import Annotated
from pydantic import AfterValidator
def _fail(text): raise KeyError(text)
def f(text: Annotated[str, AfterValidator(_fail)]): return text
""",
}


def pushed(api, content, config='{"name": "pushed"}', **fields):
    files = {"artifact": ("pushed.tar.gz", content)}
    data = {"deployment_config": config, **fields}
    return api.call("POST", PUSH, data=data, files=files)


@pytest.mark.parametrize("name", ARCHIVES)
def test_hostile_archives(api, name):
    content = ARCHIVES[name]
    if callable(content):
        content = content()
    for config in ('{"name": "pushed"}', None):
        answer = pushed(api, content, config)
        check(answer, f"push of {name}")
        if answer.status_code == 200:
            sandbox = answer.json()["workflow_sandbox_id"]
            for id_ in (sandbox, "pushed"):
                check(api.get(f"/v1/workflows/{id_}/pull"), f"pull of {name}")
            again = pushed(api, content, workflow_sandbox_id=sandbox, dry_run="true")
            check(again, f"second push of {name}")


@pytest.mark.parametrize("name", SOURCES)
def test_hostile_sources(api, name):
    answer = pushed(api, archive({"workflow.py": SOURCES[name]}))
    check(answer, f"push of {name}")
    check(api.ask("pushed"), f"run of {name}")
    check(api.get("/v1/workflow-deployments"), f"list after {name}")
    check(api.get("/v1/workflows/pushed/pull"), f"pull of {name}")


@pytest.mark.parametrize("depth", DEPTHS)
def test_nested_fields_of_a_push(api, depth):
    content = archive({"workflow.py": OK[1].decode()})
    lists, dicts = "[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth
    for field, value in itertools.product(
        ("exec_config", "deployment_config", "dataset"), (lists, dicts)
    ):
        for text in (
            value,
            f'{{"runner_config": {value}}}',
            f'[{{"inputs": {value}, "mocks": [{{"m": {value}}}]}}]',
        ):
            answer = pushed(api, content, **{"config": None, field: text})
            check(answer, f"{field} of depth {depth}")
            if answer.status_code == 200:
                sandbox = answer.json()["workflow_sandbox_id"]
                options = {"include_sandbox": "true", "include_json": "true"}
                check(api.get(f"/v1/workflows/{sandbox}/pull", params=options), f"pull, {depth}")


@pytest.mark.parametrize("levels", DEPTHS)
def test_nested_outputs(api, levels):
    answer = api.send(workflow_deployment_name="deep", inputs=inputs(levels=("NUMBER", levels)))
    check(answer, f"output of {levels} levels")
    id_ = answer.json().get("execution_id")
    for how in ("-stream", "-async"):
        body = {"workflow_deployment_name": "deep", "inputs": inputs(levels=("NUMBER", levels))}
        check(api.post(how, json={**body, "event_types": ["NODE", "WORKFLOW"]}), f"{how}, {levels}")
    for path in (
        f"/v1/workflow-deployments/deep/execution-events/{id_}",
        "/v1/workflow-deployments/deep/execution-events",
        f"/v1/workflow-executions/{id_}/detail",
        f"/v1/workflows/executions/{id_}/status",
        f"/v1/workflows/{id_}/state",
    ):
        check(api.get(path), f"{path}, {levels}")


PART = """--b\r
Content-Disposition: form-data; name="file"; filename="{}"\r
Content-Type: {}\r
\r
x\r
--b--\r
"""


@pytest.mark.parametrize("name", ["", "a" * 5_000, "\r\n", "../x", "\ud83d", "é\0"])
@pytest.mark.parametrize("kind", ["", "text/\0", "x" * 300, "multipart/form-data"])
def test_strange_uploads(api, name, kind):
    body = PART.format(name, kind).encode("utf-8", "surrogatepass")
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = api.call("POST", "/v1/uploaded-files", data=body, headers=headers)
    check(answer, "upload")
    if answer.status_code == 201:
        check(api.get(f"/v1/uploaded-files/{answer.json()['id']}"), "its address")
        check(api.get(answer.json()["file_url"].removeprefix(api.server.url)), "its content")
