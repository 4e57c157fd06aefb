"""Releases from source: copied once, never changed, found again after a restart."""

import gc
import multiprocessing.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from vellum_nb.errors import VellumNBError
from vellum_nb.local import LocalServer
from vellum_nb.local.deployments.registry import Declared, DeclaredProject
from vellum_nb.models import VellumVariable

FLOW = '''
from .helpers import change

def flow(text: str) -> str:
    """Change a text."""
    return change(text)
'''


@pytest.fixture
def project(tmp_path):
    """Make a project folder with a helper beside its workflow."""
    folder = tmp_path / "my_project"
    folder.mkdir()
    (folder / "workflow.py").write_text(FLOW)
    (folder / "helpers.py").write_text("def change(text): return text.upper()\n")
    return folder


def answer(api, name, tag="LATEST", text="Ab"):
    data = api.ask(name, text, release_tag=tag).json()["data"]
    return data["outputs"][0]["value"] if data["state"] == "FULFILLED" else data["error"]


def release_of(server, name):
    return server._registry.get(name).latest


def test_a_release_stays_what_it_was_when_its_folder_changes(fresh, project, asking):
    fresh.deploy(project, release_tags=["v1"])
    (project / "helpers.py").write_text("def change(text): return text.lower()\n")
    release = fresh.deploy(project, release_tags=["v2"])
    shutil.rmtree(project)
    api = asking(fresh)
    assert release.deployment.name == "my-project"
    assert [answer(api, "my-project", tag) for tag in ("v1", "v2", "v1")] == ["AB", "ab", "AB"]


def test_source_runs_after_a_restart_without_its_folder(tmp_path, project, asking):
    with LocalServer(data=tmp_path / "data") as server:
        server.deploy(project, release_tags=["v1"])
        before = asking(server).get("/v1/workflow-deployments/my-project/releases").json()
    shutil.rmtree(project)
    for name in [name for name in sys.modules if name.startswith("vellum_nb_source_")]:
        del sys.modules[name]
    with LocalServer(data=tmp_path / "data") as server:
        api = asking(server)
        assert api.get("/v1/workflow-deployments/my-project/releases").json() == before
        assert answer(api, "my-project", "v1") == "AB"
        texts = release_of(server, "my-project").snapshot.texts()
        assert set(texts) == {"helpers.py", "workflow.py"}


def test_an_entry_may_be_in_another_module_of_a_folder(fresh, project, asking):
    (project / "__init__.py").write_text("LOUD = True\n")
    (project / "other.py").write_text(
        "from . import LOUD\n\ndef other(text: str) -> str: return text + '!' * LOUD\n"
    )
    fresh.deploy(project, name="other", entry="other:other")
    assert answer(asking(fresh), "other") == "Ab!"


@pytest.mark.parametrize(
    ("source", "entry", "message"),
    [
        ("def a(): ...\ndef b(): ...", None, "defines a, b; name the one .* entry='workflow:name'"),
        ("_x = 1", None, "defines no function or Workflow class"),
        ("def a(): ...", "b", "has no attribute 'b'"),
        ("def a(): ...", "other:b", "No module named 'other'"),
        ("def a(", None, "SyntaxError"),
        ("raise OSError('gone')", None, r"workflow.py cannot be imported \(OSError: gone\)"),
        ("class Odd(Exception):\n    __str__ = None\nraise Odd", None, r"imported \(Odd\)"),
        ("raise SystemExit(3)", None, r"cannot be imported \(SystemExit: 3\)"),
        ("def a(x: int = WIDTH): ...", None, "NameError.*a source must import or define"),
        ("def a(*texts): ...", None, r"takes \*texts"),
    ],
)
def test_source_that_will_not_do_is_refused_with_the_reason(tmp_path, source, entry, message):
    file = tmp_path / "file.py"
    file.write_text(source)
    server = LocalServer()
    with pytest.raises(VellumNBError, match=message):
        server.deploy(file, name="x", entry=entry)
    assert server.names() == ()


def test_an_import_of_a_sibling_that_is_not_relative_says_how_to_write_it(project):
    (project / "workflow.py").write_text("import helpers\n\ndef flow(): ...\n")
    with pytest.raises(VellumNBError, match=r"write from \.helpers import"):
        LocalServer().deploy(project)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "does not exist"),
        ("notes.txt", "is not a .py file"),
        ("empty", "holds no .py file"),
    ],
)
def test_a_path_without_source_is_refused(tmp_path, name, message):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(VellumNBError, match=message):
        LocalServer().deploy(tmp_path / name)


@pytest.mark.slow
def test_what_is_hidden_is_left_out_and_a_folder_with_too_many_files_refused(project):
    (project / ".env").write_text("KEY=secret")
    (project / "__pycache__").mkdir()
    (project / "__pycache__" / "workflow.cpython-311.pyc").write_bytes(b"\0")
    (project / ".git").mkdir()
    (project / ".git" / "config").touch()
    (project / "words.txt").write_text("a b c")
    (project / "picture.png").write_bytes(b"\x89PNG\0")
    server = LocalServer()
    server.deploy(project)
    release = release_of(server, "my-project")
    assert set(release.snapshot.texts()) == {"helpers.py", "words.txt", "workflow.py"}
    kept = {path.name for path in release.snapshot.folder.iterdir()} - {"__pycache__"}
    assert kept == {"helpers.py", "picture.png", "words.txt", "workflow.py"}
    for number in range(2_000):
        (project / f"{number}.txt").touch()
    with pytest.raises(VellumNBError, match="more than 2,000 files"):
        LocalServer().deploy(project)


@pytest.mark.parametrize("to", ["../secret.txt", "..", "nodes"])
def test_a_link_to_a_folder_or_out_of_the_project_is_refused(project, tmp_path, to):
    (tmp_path / "secret.txt").write_text("secret")
    (project / "nodes").mkdir()
    (project / "link").symlink_to(to)
    with pytest.raises(VellumNBError, match="link is a link to a folder or out of my_project"):
        LocalServer().deploy(project)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "is missing"),
        (lambda folder: (folder / "more.py").touch(), "was changed on disk"),
    ],
)
def test_a_snapshot_that_was_spoiled_is_not_run(tmp_path, project, asking, spoil, message):
    server = LocalServer(data=tmp_path / "data")
    server.deploy(project)
    spoil(release_of(server, "my-project").snapshot.folder)
    with LocalServer(data=tmp_path / "data") as again:
        error = answer(asking(again), "my-project")
        assert error["code"] == "WORKFLOW_INITIALIZATION"
        assert message in error["message"]
        pulled = asking(again).get("/v1/workflows/my-project/pull")
        assert pulled.status_code == 400
        assert message in pulled.json()["detail"]


@pytest.fixture
def temporary_folders(monkeypatch):
    """Return a function that lists the temporary folders of servers in a place of this test."""
    place = Path(tempfile.mkdtemp())  # a short path: the fork server's socket stands below it
    multiprocessing.util.get_temp_dir()  # that of the fork server outlives this test
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
    yield lambda: set(place.glob("vellum_nb-sources-*"))
    shutil.rmtree(place, ignore_errors=True)


@pytest.mark.parametrize("isolation", ["kernel", "process"])
def test_without_a_data_folder_a_server_leaves_no_files_when_it_goes(
    project, asking, isolation, temporary_folders
):
    (project / "workflow.py").write_text(
        "def flow(text: str) -> str:\n    from .helpers import change\n    return change(text)\n"
    )
    server = LocalServer()
    server.deploy(project, isolation=isolation)
    api = asking(server)
    for _ in range(2):
        with server:
            assert answer(api, "my-project") == "AB"
            assert len(temporary_folders()) == 1
    del server, api.server
    gc.collect()
    assert not temporary_folders()


def test_links_that_look_like_temporary_files_of_a_server_are_not_followed(
    tmp_path, temporary_folders
):
    (tmp_path / "other").mkdir()
    os.utime(tmp_path / "other", (0, 0))
    link = Path(os.environ["TMPDIR"]) / "vellum_nb-sources-link"
    link.symlink_to(tmp_path / "other")
    os.utime(link, (0, 0), follow_symlinks=False)
    LocalServer()
    assert link in temporary_folders()
    assert not list((tmp_path / "other").iterdir())


@pytest.mark.slow
def test_a_fork_that_ends_leaves_the_temporary_files_of_a_server(temporary_folders):
    program = (
        "import os, pathlib, sys, tempfile\n"
        "from vellum_nb.local import LocalServer\n"
        "server = LocalServer()\n"
        "if not os.fork():\n"
        "    sys.exit()\n"
        "os.wait()\n"
        "print(len(list(pathlib.Path(tempfile.gettempdir()).glob('vellum_nb-sources-*'))))\n"
    )
    assert subprocess.check_output([sys.executable, "-c", program]) == b"1\n"
    assert not temporary_folders()


@pytest.mark.slow
def test_the_temporary_files_of_a_killed_server_are_removed_at_the_next_start(
    project, asking, temporary_folders
):
    program = (
        "import pathlib, sys, time\n"
        "from vellum_nb.local import LocalServer\n"
        "server = LocalServer().start()\n"
        "server.deploy(pathlib.Path(sys.argv[1]), isolation='process')\n"
        "print('deployed', flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(project)], stdout=subprocess.PIPE
    ) as killed:
        try:
            assert killed.stdout.readline() == b"deployed\n"
            (folder,) = temporary_folders()
            os.utime(folder, (0, 0))  # a new one may not be locked yet
            with LocalServer() as server:
                server.deploy(project)
                assert folder.exists(), "its process is alive"
        finally:
            killed.kill()
    with LocalServer() as server:
        server.deploy(project, name="again")
        assert answer(asking(server), "again") == "AB"
        assert not folder.exists()


def test_files_of_a_project_are_deployed_as_a_folder_is(fresh, asking):
    files = {"workflow.py": FLOW.encode(), "helpers.py": b"def change(t): return t * 2", ".x": b""}
    fresh.deploy(files, name="files")
    assert answer(asking(fresh), "files") == "AbAb"
    assert set(release_of(fresh, "files").snapshot.texts()) == {"helpers.py", "workflow.py"}
    for path in ("../x.py", "/x.py", "a/../../x.py", "a\\x.py"):
        with pytest.raises(VellumNBError, match="is not a path within The project"):
            fresh.deploy({path: b""}, name="files")


def test_source_that_is_declared_is_imported_at_its_first_run_only(fresh, tmp_path, asking):
    mark = tmp_path / "imported"
    file = tmp_path / "file.py"
    file.write_text(
        f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n"
        "def flow(text: str) -> str: return text\n"
    )
    fresh.deploy(file, name="known")
    variables = release_of(fresh, "known").input_variables
    mark.unlink()
    file.write_text(file.read_text() + "# another snapshot\n")
    declared = Declared(variables, (VellumVariable(key="output", type="STRING"),), "Says it.")
    fresh.deploy(DeclaredProject(file, declared), name="lazy", entry="flow")
    api = asking(fresh)
    assert api.get("/v1/workflow-deployments/lazy").json()["description"] == "Says it."
    assert not mark.exists()
    assert answer(api, "lazy") == "Ab"
    assert mark.exists()


@pytest.mark.parametrize("isolation", ["kernel", "process"])
def test_events_name_modules_as_the_project_does(fresh, project, asking, isolation):
    fresh.deploy(project, isolation=isolation)
    reply = asking(fresh).ask("my-project").json()
    first = fresh._ledger.events(reply["execution_id"])[0]
    assert first.body["workflow_definition"]["module"] == ["workflow"]
    assert "vellum_nb_source" not in str(first)


@pytest.mark.parametrize("entry", ["say_it", "workflow:say_it"])
def test_a_file_is_deployed_as_workflow_py_by_its_entry(tmp_path, asking, entry):
    file = tmp_path / "some-flow.py"
    file.write_text("def other(): ...\n\ndef say_it(text: str) -> str:\n    return text * 2\n")
    with LocalServer(data=tmp_path / "data") as server:
        names = {server.deploy(file, entry=entry).deployment.name for _ in range(2)}
        assert names == {"say-it"}
        assert answer(asking(server), "say-it") == "AbAb"
        assert release_of(server, "say-it").snapshot.texts() == {"workflow.py": file.read_text()}
        assert len(list((tmp_path / "data" / "sources").iterdir())) == 1
