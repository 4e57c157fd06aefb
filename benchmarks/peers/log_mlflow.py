"""Record runs with MLflow, then search them; run by the Python of MLflow's own environment.

Prints the seconds of both, imports and the making of the database not counted.
"""

from __future__ import annotations

import sys
import time

import mlflow

FOLDER, COUNT, TEXT = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def record(number: int) -> None:
    with mlflow.start_run(run_name=f"run-{number}"):
        mlflow.log_params({"ticket": TEXT, "sla_hours": number % 72, "release_tag": "v1"})
        mlflow.log_metrics({"latency_s": 0.25, "confidence": 0.5})
        mlflow.set_tags({"category": "billing", "priority": "high", "reply": TEXT})


def main() -> None:
    mlflow.set_tracking_uri(f"sqlite:///{FOLDER}/mlflow.db")
    mlflow.set_experiment("peers")
    record(0)
    started = time.perf_counter()
    for number in range(1, COUNT):
        record(number)
    recorded = time.perf_counter()
    found = mlflow.search_runs(max_results=COUNT)
    assert len(found) == COUNT
    print((recorded - started) / (COUNT - 1), time.perf_counter() - recorded)


if __name__ == "__main__":
    main()
