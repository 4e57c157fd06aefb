"""``%%vellum_deploy``: what a cell becomes, and what is said when it cannot be deployed."""

import subprocess
import sys

import pytest
from execution_kit import FLOW_HEAD, outputs
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from vellum_nb.local import LocalServer, magic
from vellum_nb.local.deployments.sources import undefined_names


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """Make an IPython shell that keeps nothing."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell(config=config)
    yield shell
    shell.restore_sys_module_state()


@pytest.fixture
def server(shell):
    server = LocalServer()
    magic.register(shell, lambda: server)
    yield server
    server.stop()


@pytest.fixture
def cell(shell, server, capsys):
    """Run a cell, and return what it said and whether it succeeded."""

    def run(text):
        capsys.readouterr()
        ended = shell.run_cell(text)
        said = capsys.readouterr()
        return said.out + said.err, ended.success

    return run


def answer(api, name, tag="LATEST"):
    (value,) = outputs(api.ask(name, "Ab", release_tag=tag).json()["data"]).values()
    return value


SHOUT = '''def helper(text):
    return text.upper()

def shout(text: str, times: int = 1) -> str:
    """Say it loudly."""
    return helper(text) * times
'''


def test_a_cell_is_run_and_its_last_function_deployed_with_the_text(cell, server, shell, asking):
    said, well = cell(
        f"%%vellum_deploy loud --tag v1 --tag beta --description 'first try'\n{SHOUT}"
    )
    assert well
    assert said == "loud (LATEST, v1, beta): text: STRING, times: NUMBER → output: STRING\n"
    assert shell.user_ns["shout"]("a") == "A"
    cell(f"%%vellum_deploy loud --tag v2\n{SHOUT.replace('upper', 'lower')}")
    said, well = cell(f"%%vellum_deploy loud --tag v3 --isolation process --env A_KEY\n{SHOUT}")
    assert well, said
    api = asking(server.start())
    release = api.get("/v1/workflow-deployments/loud/releases/v1").json()
    assert release["description"] == "first try"
    assert [answer(api, "loud", tag) for tag in ("v1", "v2", "v3")] == ["AB", "ab", "AB"]


def test_a_cell_runs_after_a_restart(shell, tmp_path, asking):
    with LocalServer(data=tmp_path / "data") as server:
        magic.register(shell, lambda: server)
        assert shell.run_cell(f"%%vellum_deploy loud --target helper\n{TYPED}").success
    with LocalServer(data=tmp_path / "data") as server:
        assert answer(asking(server.start()), "loud") == "ab!"


TYPED = """def helper(text: str) -> str:
    return text.lower() + "!"

def other(text: str) -> str:
    return text
"""


@pytest.mark.slow
def test_a_workflow_class_of_a_cell_is_deployed(cell, server, asking):
    said, well = cell(f"%%vellum_deploy sdk --tag v1\n{WORKFLOW}")
    assert well, said
    assert said == "sdk (LATEST, v1): text: STRING → said: STRING\n"
    assert answer(asking(server.start()), "sdk") == "AB"
    said, well = cell(f"%%vellum_deploy sdk --tag v2 --isolation process\n{WORKFLOW}")
    assert well, said
    assert answer(asking(server.start()), "sdk", "v2") == "AB"


WORKFLOW = f"""{FLOW_HEAD}
class Say(BaseNode):
    text = Inputs.text

    class Outputs(BaseNode.Outputs):
        said: str

    def run(self) -> Outputs:
        return self.Outputs(said=self.text.upper())

class Flow(BaseWorkflow[Inputs, BaseState]):
    graph = Say

    class Outputs(BaseWorkflow.Outputs):
        said = Say.Outputs.said

class NotDeployed:
    pass
"""


def test_a_cell_that_needs_other_cells_gets_a_message(cell, server, asking):
    cell("WIDTH = 2")
    wide = "def wide(text: str) -> str:\n    return text * WIDTH\n"
    said, well = cell(f"%%vellum_deploy wide\n{wide}")
    assert well
    assert "The cell uses WIDTH, which it neither defines nor imports" in said
    assert answer(asking(server.start()), "wide") == "AbAb"
    said, well = cell(f"%%vellum_deploy wide --isolation process\n{wide}")
    assert not well
    assert said.startswith("UsageError: The cell uses WIDTH")
    assert server.names() == ("wide",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("%%vellum_deploy\nx = 1", "required: NAME"),
        ("%%vellum_deploy a --isolation thread\nx = 1", "invalid choice: 'thread'"),
        ("%%vellum_deploy a 'b\nx = 1", "No closing quotation"),
        ("%%vellum_deploy a\nx = 1", "defines no function and no Workflow class"),
        ("%%vellum_deploy a --target y\nx = 1", "There is no 'y' after the cell has run"),
        ("%%vellum_deploy a --target x\nx = 1", "1 cannot be called; deploy a function"),
        ("%%vellum_deploy a --server x\ndef f(): ...", "that is not a LocalServer"),
        ("%%vellum_deploy a\n%time 1", "leave out magics"),
        ("%%vellum_deploy a --memory-limit 9\ndef f(): ...", "memory_limit and env need isolation"),
    ],
)
def test_what_cannot_be_deployed_says_why_in_one_line(cell, server, text, message):
    said, well = cell(text)
    assert not well
    assert said.startswith("UsageError: ")
    assert message in said
    assert server.names() == ()


@pytest.mark.parametrize(("text", "error"), [("1/0", "ZeroDivisionError"), ("x =", "SyntaxError")])
def test_an_error_of_the_cell_is_its_own(cell, server, text, error):
    said, well = cell(f"%%vellum_deploy a\ndef f(): ...\n{text}")
    assert not well
    assert error in said
    assert server.names() == ()


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("def f(x): return [y for y in x if y is not None and len(x)]", []),
        ("import os.path as p\nfrom a import b\ndef f(x: int = b): return p, print", []),
        ("class A:\n    k = 1\n    def m(self): return super().m(), A, __class__", []),
        ("def f():\n    global made\n    made = 1\ndef g(): return made", []),
        ("@deco\ndef f(x: Kind) -> Other: return lambda: deep", ["Kind", "Other", "deco", "deep"]),
    ],
)
def test_names_that_a_cell_lacks_are_found(text, missing):
    assert undefined_names(text) == missing


def test_load_ext_registers_the_magic(shell):
    assert shell.run_cell("%load_ext vellum_nb").success
    assert shell.find_cell_magic("vellum_deploy") is not None


@pytest.mark.slow
def test_connecting_offers_the_magic_for_the_server_that_is_connected():
    program = (
        "import vellum_nb as vnb\n"
        "server = vnb.LocalServer()\n"
        "ws = vnb.connect(server, history=':memory:')\n"
        "cell = 'def shout(text: str) -> str:\\n    return text.upper()\\n'\n"
        "get_ipython().run_cell_magic('vellum_deploy', 'loud --isolation process', cell)\n"
        "print(ws.run('loud', {'text': 'a'}).outputs, server.names())\n"
        "ws.close()\n"
        "server.stop()\n"
    )
    command = [sys.executable, "-m", "IPython", "--quick", "--HistoryManager.enabled=False", "-c"]
    done = subprocess.run(
        [*command, program], capture_output=True, check=False, text=True, timeout=120
    )
    assert "{'output': 'A'} ('loud',)" in done.stdout, done.stdout + done.stderr


def test_another_server_can_be_named_and_the_help_has_every_option(cell, server, shell):
    shell.user_ns["mine"] = other = LocalServer()
    said, _ = cell("%%vellum_deploy bare --server mine\ndef bare() -> dict:\n    return {'a': 1}\n")
    assert said == "bare (LATEST): no inputs → outputs not declared\n"
    assert (server.names(), other.names()) == ((), ("bare",))
    text = shell.find_cell_magic("vellum_deploy").__doc__
    for option in ("--tag", "--description", "--target", "--isolation", "--memory-limit", "--env"):
        assert option in text
