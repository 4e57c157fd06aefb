"""The `/docs` page: the OpenAPI document as plain HTML that loads nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

__all__ = ["docs_page"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color-scheme: light dark; }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { overflow: auto; padding: .75rem; border: 1px solid #8886; border-radius: 4px; }
details { border-top: 1px solid #8886; padding: .5rem 0; }
summary { cursor: pointer; }
table { border-collapse: collapse; } td { padding: .1rem 1rem .1rem 0; vertical-align: top; }
"""


def docs_page(document: Mapping[str, Any]) -> str:
    """Return an OpenAPI document as one HTML page.

    Examples
    --------
    >>> page = docs_page({"info": {"title": "A & B", "version": "1"}, "paths": {}})
    >>> "A &amp; B" in page
    True
    """
    info = document["info"]
    title = escape(f"{info['title']} {info['version']}")
    routes = "".join(
        _route(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    schemas = document.get("components", {}).get("schemas", {})
    models = "".join(
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"{_json(schema)}</details>"
        for name, schema in sorted(schemas.items())
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style><h1>{title}</h1>"
        "<p>Send the header <code>X-API-KEY</code> with every request. The same document as JSON: "
        '<a href="/openapi.json">/openapi.json</a>.</p>'
        f"<h2>Routes</h2>{routes}<h2>Models</h2>{models}</html>"
    )


def _route(method: str, path: str, operation: Mapping[str, Any]) -> str:
    summary = escape(operation.get("description") or operation.get("summary") or "")
    gone = " <em>(deprecated)</em>" if operation.get("deprecated") else ""
    rows = "".join(
        f"<tr><td><code>{escape(p['name'])}</code></td><td>{escape(p['in'])}</td>"
        f"<td>{escape(p.get('description', ''))}</td></tr>"
        for p in operation.get("parameters", ())
    )
    body = _model(operation.get("requestBody", {}))
    answer = _model(operation.get("responses", {}).get("200", {}))
    return (
        f"<details><summary><code>{escape(method.upper())} {escape(path)}</code>{gone} {summary}"
        f"</summary><table>{rows}</table>"
        f"{body and f'<p>Body: {body}</p>'}{answer and f'<p>Answer: {answer}</p>'}</details>"
    )


def _model(part: Mapping[str, Any]) -> str:
    schema = part.get("content", {}).get("application/json", {}).get("schema", {})
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return f'<a href="#{escape(name)}"><code>{escape(name)}</code></a>' if name else ""


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2))}</pre>"
