"""`ws.watch` and ``vellum-nb watch``, on runs of a history."""

import json
from datetime import UTC, datetime, timedelta

import command_kit
import pytest

import vellum_nb as vnb
from vellum_nb.history import History
from vellum_nb.history.history import recorder_of
from vellum_nb.models import Run, case_id

CASES = 40


def record_days(path, passing):
    """Record a daily sweep of 40 cases on production, up to today, with this many passes."""
    with History(path) as history:
        for at, passes in enumerate(passing):
            time = datetime.now(UTC) - timedelta(days=len(passing) - 1 - at)
            for number in range(CASES):
                inputs = {"text": f"case {number}"}
                run = Run(
                    id=f"{at}-{number}",
                    deployment="shout",
                    release_tag="production",
                    timestamp=time,
                    inputs=inputs,
                    case_id=case_id(inputs),
                    sweep_id=f"day {at}",
                    desired={"loud": "yes"},
                )
                recorder = recorder_of(history)
                recorder.begin(run)
                outputs = {"loud": "yes" if number < passes else "no"}
                recorder.finish(run.model_copy(update={"state": "FULFILLED", "outputs": outputs}))


@pytest.fixture
def command(server, tmp_path):
    path = tmp_path / "runs.db"

    def command(passing, *arguments):
        record_days(path, passing)
        environment = {"VELLUM_API_KEY": server.api_key, "VELLUM_API_URL": server.url}
        return command_kit.run(
            "watch", "shout", *arguments, **environment, VELLUM_NB_HISTORY=str(path)
        )

    return command


def test_command_exits_with_0_if_healthy(command):
    done = command([32] * 5)
    assert done.returncode == 0
    assert done.stdout.startswith("production: healthy: score 0.80, 0.80 before (n = 40)")


def test_command_exits_with_1_if_worse(command):
    done = command([32] * 5 + [24] * 5)
    assert done.returncode == 1
    assert done.stdout.startswith("production: worse since about ")


def test_command_exits_with_3_if_it_cannot_tell(command):
    done = command([32])
    assert done.returncode == 3
    assert done.stdout == (
        "production: cannot tell yet: 0 cases with earlier figures; six are needed\n"
    )


def test_command_prints_json(command):
    printed = json.loads(command([32] * 5, "--json").stdout)
    assert (printed["status"], printed["release_tag"], printed["metric"]) == (
        *("healthy", "production", "score"),
    )


def test_only_the_cases_of_a_set_are_watched(command, server, tmp_path):
    with vnb.connect(server, history=tmp_path / "runs.db") as ws:
        suite = ws.case_set("stable", deployment="shout")
        suite.add([{"text": f"case {number}", "expected.loud": "yes"} for number in range(24)])
    assert command([32] * 5 + [24] * 5, "--cases", "stable").returncode == 0


def test_runs_before_since_do_not_count(server, tmp_path):
    record_days(tmp_path / "runs.db", [32] * 5 + [24] * 5)
    since = datetime.now(UTC) - timedelta(days=4, hours=1)
    with vnb.connect(server, history=tmp_path / "runs.db") as ws:
        assert ws.watch("shout").status == "worse"
        assert ws.watch("shout", since=since).status == "healthy"
