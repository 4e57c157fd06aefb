"""The same calls by MLflow's evaluation; run by the Python of MLflow's own environment.

Calls are made through one `requests.Session` with as many connections as there are workers, and a
scorer that does nothing: without one it evaluates nothing.
"""

from __future__ import annotations

import csv
import os
import sys

import mlflow
import requests
from mlflow.genai.scorers import scorer

URL, KEY, CASES, WORKERS, *TAGS = sys.argv[1:]
SESSION = requests.Session()
SESSION.headers["X-API-KEY"] = KEY
SESSION.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=int(WORKERS)))


@scorer
def answered(outputs: str) -> bool:
    return bool(outputs)


def predict(release_tag: str):
    @mlflow.trace
    def call(ticket: str) -> str:
        body = {
            "workflow_deployment_name": "w",
            "release_tag": release_tag,
            "inputs": [{"name": "ticket", "type": "STRING", "value": ticket}],
        }
        reply = SESSION.post(f"{URL}/v1/execute-workflow", json=body, timeout=60)
        data = reply.json()["data"]
        assert data["state"] == "FULFILLED"
        return str(data["outputs"][0]["value"])

    return call


def main() -> None:
    with open(CASES, newline="", encoding="utf-8") as file:  # noqa: PTH123
        data = [{"inputs": {"ticket": row["ticket"]}} for row in csv.DictReader(file)]
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    mlflow.set_experiment("peers")
    for tag in TAGS:
        with mlflow.start_run(run_name=tag):
            mlflow.genai.evaluate(data=data, predict_fn=predict(tag), scorers=[answered])


if __name__ == "__main__":
    main()
