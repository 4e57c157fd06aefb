"""Runs in a process of their own: what reaches them, what ends them, what a crash looks like."""

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from execution_kit import inputs, outputs, until, until_gone
from leak_kit import FUNCTION, keys_seen

from vellum_nb.errors import VellumNBError
from vellum_nb.local import Isolation, LocalServer
from vellum_nb.local.deployments.sources import Snapshot, Snapshots
from vellum_nb.local.engine.events import Rejection, RunContext
from vellum_nb.local.isolation.process import ProcessOptions
from vellum_nb.local.isolation.workflow_server import IsolatedCode
from vellum_nb.models import WorkflowInput

SOURCE = '''
import ctypes, os, pathlib, signal, subprocess, sys, time
from collections.abc import Generator
from typing import Literal
from vellum_nb.local import Reject, State

def flow(what: str, place: str = "", hours: int = 1) -> Generator[str, None, dict]:
    """Do as it is told."""
    if what == "print":
        print("{}" * 100_000)
        os.write(1, b'{"event": 1}')
        sys.__stdout__.write("more")
        print("more", file=sys.stderr)
    if what == "exit":
        os._exit(7)
    if what == "segfault":
        ctypes.string_at(0)
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "closed":
        os.closerange(3, 256)
    if what == "garbage":
        for number in range(3, 64):
            try:
                os.write(number, b"[1]\\n")
            except OSError:
                pass
    if what == "sys.exit":
        sys.exit(4)
    if what == "reject":
        raise Reject("not today")
    if what == "input":
        input()
    if what == "memory":
        bytearray(2**40)
    if what == "environment":
        yield repr(sorted(os.environ))
    if what == "hang":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        pathlib.Path(place).write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)
    for letter in what:
        yield letter
    return {"pid": os.getpid()}

def chat(text: str, state: State) -> str:
    """Remember."""
    state["said"] = [*state.get("said", []), text]
    return ", ".join(state["said"])
'''


@pytest.fixture(scope="module")
def isolated(tmp_path_factory):
    """Start a server with a workflow that runs in processes."""
    file = tmp_path_factory.mktemp("source") / "flow.py"
    file.write_text(SOURCE)
    with LocalServer() as server:
        for name in ("flow", "chat"):
            server.deploy(file, entry=name, isolation="process")
        with_key = Isolation("process", env=["A_KEY"])
        server.deploy(file, name="with-key", entry="flow", isolation=with_key)
        yield server


@pytest.fixture
def ask(isolated, asking):
    api = asking(isolated)

    def run(name, what, **more):
        given = {"what": what, **more}
        return api.run(name, **{n: ("STRING", v) for n, v in given.items()})

    return run


def pids_in(place):
    def written():
        return place.exists() and len(place.read_text().split()) == 2

    until(written)
    return [int(pid) for pid in place.read_text().split()]


def test_each_run_has_a_process_of_its_own(ask):
    pids = {outputs(ask("flow", "fine"))["pid"] for _ in range(2)}
    assert len(pids | {os.getpid()}) == 3


def test_what_a_run_prints_does_not_affect_its_answer(ask):
    assert outputs(ask("flow", "print"))["output"] == "print"


@pytest.mark.parametrize(
    ("what", "code", "message"),
    [
        ("exit", "NODE_EXECUTION", "ended by itself with exit status 7"),
        ("segfault", "NODE_EXECUTION", "was ended by SIGSEGV"),
        ("killed", "NODE_EXECUTION", "was ended by SIGKILL, perhaps as memory ran out"),
        ("garbage", "NODE_EXECUTION", "it wrote something that is not an event"),
        ("closed", "NODE_EXECUTION", "before the run was over"),
        ("sys.exit", "NODE_EXECUTION", "SystemExit: 4"),
        ("reject", "USER_DEFINED_ERROR", "not today"),
        ("input", "NODE_EXECUTION", "EOFError"),
        ("memory", "NODE_EXECUTION", "needed more than its memory_limit of 2,147,483,648 bytes"),
    ],
)
def test_a_crash_is_a_rejected_run_with_the_reason(ask, what, code, message):
    data = ask("flow", what)
    assert data["state"] == "REJECTED"
    assert data["error"]["code"] == code
    assert message in data["error"]["message"]
    assert outputs(ask("flow", "fine"))["output"] == "fine"


def test_a_crash_shows_where_without_the_folders_of_this_machine(ask):
    trace = ask("flow", "segfault")["error"]["stacktrace"]
    assert 'File "workflow.py"' in trace
    assert os.path.dirname(sys.executable) not in trace  # noqa: PTH120
    assert "vellum_nb/" not in trace


def test_a_run_gets_no_key_but_those_that_it_was_deployed_with(ask, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-1")
    monkeypatch.setenv("A_KEY", "secret-2")
    seen = {name: outputs(ask(name, "environment"))["output"] for name in ("flow", "with-key")}
    assert "PATH" in seen["flow"]
    assert "_KEY" not in seen["flow"]
    assert "OPENAI" not in seen["with-key"]
    assert "'A_KEY'" in seen["with-key"]


@pytest.mark.slow
def test_isolated_code_reads_no_key_from_environments_arguments_descriptors_files_or_memory(
    tmp_path,
):
    _, seen = keys_seen(tmp_path, FUNCTION, entry="look", kind="process")
    assert seen["keys"] == {}
    for place in ("environ", "cmdline", "memory"):
        assert len([name for name in seen["looked"] if name.startswith(place)]) == 2  # run, server
    assert "file workflow.py" in seen["looked"]


@pytest.mark.slow
def test_isolated_code_reads_only_the_key_that_it_was_deployed_with(tmp_path):
    keys, seen = keys_seen(tmp_path, FUNCTION, entry="look", kind="process", env=["A_KEY"])
    assert seen["keys"]["os.environ"] == [keys["A_KEY"]]
    assert {key for found in seen["keys"].values() for key in found} == {keys["A_KEY"]}
    assert not [place for place in seen["keys"] if place.startswith(("environ", "cmdline"))]


@pytest.mark.slow
def test_a_state_is_restored_in_the_next_process(isolated, asking):
    api = asking(isolated)
    previous, said = None, []
    for text in ("one", "two"):
        reply = api.ask("chat", text, previous_execution_id=previous).json()
        previous = reply["execution_id"]
        said.append(outputs(reply["data"])["output"])
    assert said == ["one", "one, two"]


def test_inputs_are_checked_before_a_process_is_started(isolated, asking):
    wrong = inputs(what=("STRING", None), hours=("NUMBER", 1.5), x=("STRING", "a"))
    reply = asking(isolated).send(workflow_deployment_name="flow", inputs=wrong)
    assert reply.status_code == 400
    for message in ("Input 'what'", "a whole number is expected", "Unknown input variable 'x'"):
        assert message in reply.json()["detail"]


@pytest.mark.slow
def test_a_timeout_kills_all_processes_of_a_run(tmp_path, asking):
    file, place = tmp_path / "flow.py", tmp_path / "pids"
    file.write_text(SOURCE)
    with LocalServer(timeout=3) as server:
        server.deploy(file, name="flow", entry="flow", isolation="process")
        given = {"what": ("STRING", "hang"), "place": ("STRING", str(place))}
        data = asking(server).run("flow", **given)
        assert data["error"]["code"] == "WORKFLOW_TIMEOUT"
        began = place.read_text().split() if place.exists() else []  # a slow machine has none
        until_gone([int(pid) for pid in began])


@pytest.fixture
def code(tmp_path):
    snapshot = Snapshots(tmp_path / "sources").add({"workflow.py": SOURCE.encode()})
    return IsolatedCode.described(snapshot, "flow", ProcessOptions())[1]


def run_of(code, what, **more):
    given = {"what": what, **more}
    wired = [WorkflowInput(name=n, type="STRING", value=v) for n, v in given.items()]
    return code.begin(wired, RunContext("execution", "trace"))


def until_rejected(run):
    """Return the events of a run, and the `Rejection` that ends it."""
    events = []
    try:
        events.extend(event for event in run.events())
    except Rejection as why:
        return [*events, why]
    return events


def test_cancelling_kills_the_process_of_a_run(code, tmp_path):
    place = tmp_path / "pids"
    run = run_of(code, "hang", place=str(place))
    events = []
    thread = threading.Thread(target=lambda: events.extend(until_rejected(run)))
    thread.start()
    pids = pids_in(place)
    run.cancel()
    run.cancel()
    thread.join(120)
    *began, why = events
    assert [event.name for event in began] == [
        "workflow.execution.initiated",
        "node.execution.initiated",
    ]
    assert "was ended by SIG" in why.message
    until_gone(pids)


def test_a_run_that_was_cancelled_before_its_start_has_no_events(code):
    run = run_of(code, "abc")
    run.cancel()
    assert until_rejected(run) == []


def test_a_release_that_is_spoiled_says_to_deploy_it_again(code):
    after_a_restart = replace(code, snapshot=Snapshot(code.snapshot.folder))
    (code.snapshot.folder / "more.py").touch()
    for each in (code, after_a_restart):
        (why,) = until_rejected(run_of(each, "abc"))
        assert why.code == "INVALID_WORKFLOW"
        assert "was changed on disk" in why.message


@pytest.mark.slow
def test_the_processes_of_a_killed_server_end_too(tmp_path):
    file, place = tmp_path / "flow.py", tmp_path / "pids"
    file.write_text(SOURCE)
    program = (
        "import pathlib, sys, requests\n"
        "from vellum_nb.local import LocalServer\n"
        "server = LocalServer().start()\n"
        "server.deploy(pathlib.Path(sys.argv[1]), entry='flow', isolation='process')\n"
        "inputs = [{'name': n, 'type': 'STRING', 'value': v}\n"
        "          for n, v in (('what', 'hang'), ('place', sys.argv[2]))]\n"
        "requests.post(server.url + '/v1/execute-workflow',\n"
        "    json={'workflow_deployment_name': 'flow', 'inputs': inputs},\n"
        "    headers={'X-API-KEY': server.api_key})\n"
    )
    command = [sys.executable, "-c", program, str(file), str(place)]
    with subprocess.Popen(command) as server:
        try:
            pids = pids_in(place)
        finally:
            server.send_signal(signal.SIGKILL)
    until_gone(pids)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import os; os._exit(3)", "the process that imported it ended by itself with exit status"),
        ("raise OSError('gone')", r"cannot be imported \(OSError: gone\)"),
        ("def f(*a): ...", r"f takes \*a"),
        ("import os; raise OSError(os.getpid() == {pid})", "OSError: False"),
    ],
)
def test_source_is_imported_in_a_process_when_it_is_deployed(tmp_path, source, message):
    (tmp_path / "file.py").write_text(source.format(pid=os.getpid()))
    with pytest.raises(VellumNBError, match=message):
        LocalServer().deploy(tmp_path / "file.py", name="x", isolation="process")


@pytest.fixture
def process_options(tmp_path):
    """Return what starts a server, deploys to it if options are given, and reads them back."""
    (tmp_path / "file.py").write_text("def f(x: str) -> str: return x\n")

    def options(more=None, **limit):
        server = LocalServer(data=tmp_path / "data", **limit)
        if more is not None:
            server.deploy(tmp_path / "file.py", isolation=Isolation("process", **more))
        return server._registry.get("f").latest.process  # its options are in no answer

    return options


def test_memory_has_a_limit_by_default(process_options):
    assert process_options({}) == ProcessOptions(2 * 1024**3)


def test_memory_without_a_limit(process_options):
    assert process_options({}, memory_limit=None) == ProcessOptions()


def test_options_of_a_process_survive_a_restart(process_options):
    expected = ProcessOptions(2**31, ("A", "B"))
    given = {"memory_limit": 2**31, "env": ["A", "B"]}
    assert process_options(given, memory_limit=2**32) == process_options() == expected


def whisper(text: str) -> str:
    return text.lower()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "thread"}, "Unknown isolation 'thread'; available: kernel, process"),
        (
            {"kind": "kernel", "memory_limit": 2**31},
            'memory_limit and env need isolation "process"',
        ),
        ({"kind": "kernel", "env": ["A"]}, 'memory_limit and env need isolation "process"'),
        ({"kind": "process", "memory_limit": 1000}, "it is in bytes"),
        ({"kind": "process", "env": "A"}, "env must be a list of texts, not 'A'"),
        ({"kind": "process", "env": ["A=1"]}, "env must be a list of names"),
        ({"kind": "process", "image": "mine:1"}, 'image needs isolation "container"'),
        ({"kind": "container", "python": "python"}, 'python needs isolation "environment"'),
        ({"kind": "environment"}, 'isolation "environment" needs python='),
        ({"memory_limit": "1G"}, "memory_limit must be a whole number of at least 1 or None"),
        ({"memory_limit": 1e9}, "memory_limit must be a whole number"),
        ({"env": 5}, "env must be a list of texts, not 5"),
        ({"image": 5}, "image must be a text or None, not 5"),
        ({"python": 5}, "python must be the path of a Python executable, not 5"),
    ],
)
def test_invalid_isolation_options_are_refused(options, message):
    with pytest.raises(VellumNBError, match=message):
        Isolation(**{"kind": "process", **options})


def test_isolation_of_a_callable_without_source_is_refused():
    with pytest.raises(VellumNBError, match="whisper cannot run in a process of its own"):
        LocalServer().deploy(whisper, isolation="process")


def test_unknown_isolation_is_refused_at_deploy():
    with pytest.raises(VellumNBError, match="Unknown isolation 'thread'"):
        LocalServer().deploy(whisper, isolation="thread")


@pytest.mark.slow
def test_runs_go_on_when_the_fork_server_was_killed(code):
    *events, last = run_of(code, "abc").events()
    deltas = [e.body["output"].get("delta") for e in events if e.name.endswith("ion.streaming")]
    assert [delta for delta in deltas if delta] == ["a", "b", "c"]
    assert last.name == "workflow.execution.fulfilled"
    mine = ["pgrep", "-P", str(os.getpid()), "-f", "fork_server.py"]
    for pid in subprocess.run(mine, capture_output=True, check=True, text=True).stdout.split():
        os.kill(int(pid), signal.SIGKILL)
    ended = [list(run_of(code, "abc").events())[-1] for _ in range(3)]
    assert {event.name for event in ended} == {"workflow.execution.fulfilled"}


@pytest.mark.slow
def test_fork_server_is_closed_before_its_process_ends(tmp_path):
    (tmp_path / "file.py").write_text("def shout(x: str) -> str: return x.upper()\n")
    script = (
        "import atexit, os, subprocess\n"
        "find = ['pgrep', '-P', str(os.getpid()), '-f', 'fork_server.py']\n"
        "atexit.register(subprocess.call, find)\n"  # called last
        "from pathlib import Path\n"
        "from vellum_nb.local import LocalServer\n"
        "LocalServer().deploy(Path('file.py'), name='shout', isolation='process')\n"
        "print(subprocess.call(find, stdout=subprocess.DEVNULL))\n"
    )
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.slow
def test_a_script_that_deploys_is_not_imported_by_its_processes(tmp_path):
    """The fork server imports no main module of its client."""
    script = tmp_path / "script.py"
    script.write_text(
        "import pathlib, sys\n"
        "pathlib.Path('ran').open('a').write('x')\n"
        "from vellum_nb import connect\n"
        "from vellum_nb.local import LocalServer\n"
        "with LocalServer() as server:\n"
        "    server.deploy(pathlib.Path('flow.py'), name='flow', isolation='process')\n"
        "    run = connect(server, history='runs.db').run('flow', {'text': 'a'})\n"
        "    assert run.outputs == {'output': 'aa'}, run\n"
    )
    (tmp_path / "flow.py").write_text("def flow(text: str) -> str: return text * 2\n")
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, check=True, timeout=120)
    assert (tmp_path / "ran").read_text() == "x"


@pytest.mark.slow
def test_many_runs_at_once_do_not_mix(code):
    with ThreadPoolExecutor(8) as pool:
        texts = [f"text-{number}" for number in range(24)]
        ended = list(pool.map(lambda text: list(run_of(code, text).events())[-1], texts))
    assert [event.body["outputs"]["output"] for event in ended] == texts
    assert len({event.body["outputs"]["pid"] for event in ended}) == 24


def test_an_input_that_is_nested_to_the_limit_reaches_the_process(asking):
    source = b"from typing import Any\ndef flow(value: Any) -> Any:\n    return [value]\n"
    value = json.loads("[" * 197 + "]" * 197)  # 200 with the places of the body
    with LocalServer(timeout=5) as server:
        server.deploy({"workflow.py": source}, isolation="process")
        data = asking(server).run("flow", value=("JSON", value))
    assert outputs(data)["output"] == [value]


def test_wrong_faults_are_refused():
    with LocalServer() as server:
        with pytest.raises(VellumNBError, match=r"faults must be a vellum_nb.local.Faults or None"):
            server.faults = 5
        assert server.faults is None


@pytest.mark.slow
def test_a_script_that_ends_during_a_run_prints_no_traceback():
    script = (
        "import time, vellum_nb as vnb\n"
        "ws = vnb.connect('local', history=':memory:')\n"
        "def slow(text: str) -> str:\n"
        "    time.sleep(1)\n"
        "    return text\n"
        "ws.server.deploy(slow, name='slow')\n"
        "ws.submit('slow', {'text': 'a'})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert "Traceback" not in done.stderr
