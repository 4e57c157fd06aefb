"""Power of a planned sweep, before it is paid."""

import json

import pytest

import vellum_nb as vnb
from vellum_nb.__main__ import main

TAGS = ["v1", "v2"]
ASSUME = {"discordance": 0.2, "noise": 0.1, "latency_s": 2.0, "cost_usd": 0.01}


def cases(start: int, stop: int) -> list[dict[str, object]]:
    return [{"text": f"case {n}", "expected.output": f"case {n}"} for n in range(start, stop)]


@pytest.fixture
def ws(server):
    server.deploy(lambda text: text, name="echo", release_tags=["v1"])
    server.deploy(
        lambda text: text if int(text[5:]) % 10 else "?", name="echo", release_tags=["v2"]
    )
    with vnb.connect(server, history=":memory:") as made:
        yield made


def planned(ws, rows, **options):
    return ws.sweep("echo", rows, release_tags=TAGS, dry_run=True, **options)


def test_power_without_stored_runs_is_that_of_the_assumptions(ws):
    plan = planned(ws, cases(0, 30), repeats=2, concurrency=4)
    table = plan.power(0.1, assume=ASSUME).set_index(["cases", "repeats"])
    assert table[table["planned"]].index.tolist() == [(30, 2)]
    assert table.loc[(30, 2), "calls"] == plan.calls == 120
    assert table.loc[(30, 2), "time_s"] == 120 * 2.0 / 4
    assert table.loc[(30, 2), "cost_usd"] == pytest.approx(1.2)
    assert 0 < table.loc[(30, 2), "power"] < 0.8
    assert table[table["cheapest"]]["power"].min() >= 0.8
    assert table.loc[(20, 1), "calls"] == 40  # smaller sweeps are listed as well


def test_power_of_a_sweep_is_that_of_the_stored_runs_of_its_releases(ws):
    ws.sweep("echo", cases(0, 40), release_tags=TAGS, progress=False)
    stored = ws.compare("echo", release_tags=TAGS).plan(margin=0.1).set_index("cases")["power"]
    table = planned(ws, cases(100, 200)).power(0.1).set_index("cases")
    assert table.loc[100, "power"] == stored[100]
    assert table.loc[100, "calls"] == 200
    resumed = planned(ws, cases(0, 40)).power(0.1).set_index(["cases", "repeats"])["calls"]
    assert [resumed.get((size, 1), "-") for size in (20, 40, 50)] == [0, 0, 20]


def test_runs_of_an_earlier_release_do_not_count(ws, server):
    ws.sweep("echo", cases(0, 40), release_tags=TAGS, progress=False)
    server.deploy(lambda text: text.upper(), name="echo", release_tags=["v2"])
    with pytest.raises(vnb.InputError, match="a plan needs 6 compared cases, or assume="):
        planned(ws, cases(0, 40)).power(0.1)


def test_repeats_of_a_sweep_need_the_noise(ws):
    with pytest.raises(vnb.InputError, match="the noise of repeats is unknown"):
        planned(ws, cases(0, 30), repeats=3).power(0.1, assume={"discordance": 0.2})


def test_plan_of_a_sweep_refuses_a_wrong_option(ws):
    plan = planned(ws, cases(0, 30))
    with pytest.raises(vnb.InputError, match="power must be a number between 0 and 1"):
        plan.power(0.1, power=80, assume=ASSUME)
    with pytest.raises(vnb.InputError, match="'v9' is not a compared release"):
        plan.power(0.1, release="v9", assume=ASSUME)
    alone = ws.sweep("echo", cases(0, 30), release_tags=["v1"], dry_run=True)
    with pytest.raises(vnb.InputError, match="only v1 is compared"):
        alone.power(0.1, assume=ASSUME)
    with pytest.raises(vnb.InputError, match=r"use ws.sweep\(..., dry_run=True\).power"):
        vnb.SweepPlan("echo", cases=1, repeats=1, tags=()).power(0.1)


def test_command_prints_the_power_with_the_plan(ws, server, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VELLUM_API_KEY", server.api_key)
    monkeypatch.setenv("VELLUM_API_URL", server.url)
    history = tmp_path / "runs.db"
    with vnb.connect(server, history=history) as workspace:
        workspace.sweep("echo", cases(0, 20), release_tags=TAGS, progress=False)
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, cases(100, 150))))
    tags = [text for tag in TAGS for text in ("--release-tag", tag)]
    command = ["sweep", "echo", "cases.jsonl", *tags, "--history", str(history), "--margin", "0.1"]
    assert main([*command, "--dry-run"]) == 0
    assert "planned  cheapest" in capsys.readouterr().out
    assert main([*command, "--dry-run", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["power"]
    assert [row["calls"] for row in rows if row["planned"]] == [100]


def test_power_is_that_of_the_rule_of_the_sweep(ws):
    rule = vnb.StopWhen(margin=0.3, baseline="v2", metric="exact", alpha=0.1)
    plan = planned(ws, cases(0, 50), stop_when=rule)
    table = plan.power(assume={"discordance": 0.1})
    assert table.equals(plan.power(0.3, metric="exact", assume={"discordance": 0.1}))
    with pytest.raises(vnb.InputError, match="v2 is the baseline"):
        plan.power(release="v2", assume={"discordance": 0.1})


def test_command_prints_the_plan_if_the_power_is_unknown(ws, server, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("VELLUM_API_KEY", server.api_key)
    monkeypatch.setenv("VELLUM_API_URL", server.url)
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, cases(0, 50))))
    tags = [text for tag in TAGS for text in ("--release-tag", tag)]
    history = str(tmp_path / "new.db")
    command = ["sweep", "echo", str(tmp_path / "cases.jsonl"), *tags, "--history", history]
    assert main([*command, "--margin", "0.1", "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert "100 calls" in out
    assert "the power is unknown: a plan needs 6 compared cases" in err
