"""A form frees its memory when it is closed, and every view closes when its cell is run again."""

import gc
import threading
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from weakref import ref

import pytest
from form_kit import PATIENCE, SPEC, answer, ran, release
from IPython.core.events import EventManager, available_events
from ipywidgets import Widget
from ipywidgets.widgets.widget import _instances
from jupyter_client.manager import start_new_kernel
from runs_kit import bundle_of
from sweep_view_kit import until

from vellum_nb.errors import VellumNBError
from vellum_nb.widgets.form import RunForm

FORMS = 30
SETUP = f"""
import gc, sys
sys.path[:0] = {[str(folder) for folder in Path(__file__).parents[:2]]!r}
from IPython.display import display
from ipywidgets import Widget
from form_kit import SPEC, answer, release
from vellum_nb.widgets.form import RunForm

def usage():
    gc.collect()
    pages = int(open("/proc/self/statm").read().split()[1])
    return sum(isinstance(each, Widget) for each in gc.get_objects()), pages * 4

def new_form():
    return RunForm(SPEC, run=lambda request, _: answer(request), release=release)
"""


def new_form():
    return RunForm(SPEC, run=lambda request, _: answer(request), release=release)


def collect():
    """Collect all garbage; `gc.collect` does nothing while another thread collects."""
    count = gc.get_stats()[2]["collections"]
    while gc.get_stats()[2]["collections"] < count + 2:  # the first may have begun earlier
        gc.collect()


class Notebook:
    """A kernel, and cells that are run with their ids, as JupyterLab does."""

    def __init__(self):
        self.manager, self.client = start_new_kernel(startup_timeout=PATIENCE * 3)
        self.prefix = ""  # of the ids of cells
        self.run(SETUP, "setup")

    def run(self, code, cell, expression="None"):
        """Run `code` as the cell with this id; return the value of `expression` afterwards."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {"value": expression},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        message = self.client.session.msg(
            "execute_request", content, metadata={"cellId": self.prefix + cell}
        )
        self.client.shell_channel.send(message)
        while True:  # not the message on iopub: with many others it may be dropped
            reply = self.client.get_shell_msg(timeout=PATIENCE * 6)
            if reply["parent_header"]["msg_id"] == message["header"]["msg_id"]:
                assert reply["content"]["status"] == "ok", "\n".join(reply["content"]["traceback"])
                return reply["content"]["user_expressions"]["value"]["data"]["text/plain"]

    def usage(self):
        """Return how many widgets are in memory, and how many kB the kernel uses."""
        number, size = self.run("", "usage", "usage()").strip("()").split(",")
        return int(number), int(size)

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture(scope="module")
def shared_notebook():
    notebook = Notebook()
    yield notebook
    notebook.close()


@pytest.fixture
def notebook(shared_notebook, request):
    """Return a notebook with cells of this test in a kernel that all tests share."""
    shared_notebook.prefix = f"{request.node.name} "
    return shared_notebook


CLOSED = "(form.is_closed, grid.is_closed)"
MADE = """
from vellum_nb import connect
from ipywidgets import VBox
with connect("local", history=":memory:") as ws:
    for tag in ("v1", "v2"):
        ws.run("ticket-triage", {"ticket": "hi"}, release_tag=tag)
    form, grid = new_form(), ws.compare("ticket-triage").view()
"""


@pytest.mark.slow
def test_repeated_cell_closes_only_its_own_views(notebook):
    notebook.run(MADE, "making")
    notebook.run("display(form, grid)", "showing")
    assert notebook.run("other = new_form(); other", "showing", CLOSED) == "(False, False)"
    notebook.run("form, grid, kept = 0, 0, (form, grid)\n" + MADE, "making")
    assert notebook.run("", "asking", "[each.is_closed for each in kept]") == "[True, True]"
    assert notebook.run("other = new_form()", "making", CLOSED) == "(True, True)"
    assert notebook.run("", "asking", "other.is_closed") == "False"


@pytest.mark.slow
def test_view_in_an_open_container_stays_open(notebook):
    notebook.run(MADE + "box = VBox([VBox([form]), grid]); box", "making")
    assert notebook.run("new = new_form(); box", "making", CLOSED) == "(False, False)"
    notebook.run("box.children = box.children[:1]", "asking")
    assert notebook.run("new = new_form(); box", "making", CLOSED) == "(False, True)"
    notebook.run("box.children[0].close()", "asking")
    assert notebook.run("new = new_form()", "making", CLOSED) == "(True, True)"


@pytest.mark.slow
@pytest.mark.parametrize("inner", ["1", "", "new = new_form()", "raise ValueError"])
@pytest.mark.parametrize("top", ["", "await __import__('asyncio').sleep(0)\n"])
def test_nested_cell_does_not_end_the_outer_one(notebook, inner, top):
    notebook.run(MADE, "making")
    code = f"{top}other = new_form()\nget_ipython().run_cell({inner!r})\nwas = {CLOSED}"
    assert notebook.run(f"{code}\ndisplay(form)", "making", "was") == "(False, False)"
    assert notebook.run("", "asking", CLOSED) == "(False, True)"


@pytest.mark.slow
@pytest.mark.parametrize("code", ["new_form()", "form = new_form()"])  # `Out` keeps the first
def test_repeated_cell_frees_the_memory_of_its_form(notebook, code):
    for _ in range(25):
        notebook.run(code, "form")
    before, size = notebook.usage()
    for _ in range(FORMS):
        notebook.run(code, "form")
    after, new_size = notebook.usage()
    assert (after - before) / FORMS < 5  # a form has about 300 widgets
    assert (new_size - size) / FORMS < 200  # kB; it was about 720


@pytest.fixture
def constructed():
    """Return weak references to the widgets of this thread; those of earlier tests still change."""
    made, own = [], threading.get_ident()
    Widget.on_widget_constructed(
        lambda widget: made.append(ref(widget)) if threading.get_ident() == own else None
    )
    yield made
    Widget.on_widget_constructed(None)


def test_closed_form_keeps_no_widgets(constructed):
    forms = [new_form() for _ in range(4)]
    assert len(constructed) / len(forms) > 100
    for form in forms:
        form.close()
    collect()
    assert sum(widget() is not None for widget in constructed) / len(forms) < 5
    assert [form.release_tags for form in forms] == [["v2"]] * len(forms)


def test_closed_form_keeps_its_values_but_runs_nothing():
    form = new_form()
    runs = ran(form)
    value = dict(form.value)
    form.close()
    assert (form.runs, form.wait(), form.value) == (runs, runs, value)
    assert (form.errors, form.sweep, form.busy) == ({}, None, False)
    assert repr(form) == "RunForm('ticket-triage', run on: v2)"
    assert bundle_of(form) == {"text/plain": repr(form)}
    form.cancel()
    for act in (
        form.submit,
        lambda: form.continue_from(runs[0]),
        lambda: setattr(form, "value", {}),
        lambda: setattr(form, "release_tags", ["v1"]),
    ):
        with pytest.raises(VellumNBError, match=r"closed\. Make another one with ws\.form\('tick"):
            act()


def test_late_run_does_not_change_a_closed_form():
    came, gate = threading.Event(), threading.Event()

    def slow(tag):
        if tag == "v1":
            came.set()
            assert gate.wait(PATIENCE)
        return release(tag)

    form = RunForm(SPEC, run=lambda request, _: slow("v1") and answer(request), release=slow)
    form.value = {"ticket": "hi"}
    form.submit()
    assert came.wait(PATIENCE)
    form.close()  # waits a moment for the run
    threads = [each for each in threading.enumerate() if each.name.startswith("vellum-nb-form")]
    gate.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert form.busy is False
    assert form.release_tags == ["v2"]


@pytest.fixture
def cell(monkeypatch):
    """Return a context in which the cell with this id runs."""
    parent, numbers = {}, count()
    shell = SimpleNamespace(get_parent=lambda: parent)
    shell.events = EventManager(shell, available_events)
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)

    @contextmanager
    def run(name):
        parent["metadata"] = {"cellId": f"{name} of {id(shell)}"}
        parent["header"] = {"msg_id": str(next(numbers))}
        yield
        info = SimpleNamespace(cell_id=parent["metadata"]["cellId"])
        shell.events.trigger("post_run_cell", SimpleNamespace(info=info))

    return run


@pytest.fixture
def compared(ws):
    for tag in ("v1", "v2"):
        ws.run("answer", {"ticket": "hi"}, release_tag=tag)
    return ws


VIEWS = {
    "form": lambda ws: ws.form("answer"),
    "lab": lambda ws: ws.lab("answer"),
    "history": lambda ws: ws.history.view(),
    "grid": lambda ws: ws.compare("answer").view(),
    "blind": lambda ws: ws.compare("answer").view(blind=True),
    "sweep": lambda ws: ws.sweep(
        "answer", [{"ticket": "a"}], existing="restart", progress=False
    ).view(),
}


def made(kind, ws):
    """Return a view of this kind that is not busy."""
    view = VIEWS[kind](ws)
    if kind == "sweep":
        until(view, lambda model: model["state"] == "done")
    return view


@pytest.mark.parametrize("kind", VIEWS)
def test_view_is_closed_when_its_cell_displays_another(compared, cell, kind):
    before = set(_instances)
    with cell("one"):
        first = made(kind, compared)
        bundle_of(first)
    with cell("one"):
        second = made(kind, compared)
        bundle_of(second)
        assert not first.is_closed  # the cell may display it again
    assert (first.is_closed, second.is_closed) == (True, False)
    with cell("one"):
        bundle_of(second)
    assert not second.is_closed
    second.close()
    assert set(_instances) == before


@pytest.mark.slow
@pytest.mark.parametrize("kind", VIEWS)
def test_view_is_closed_when_no_cell_displays_it(compared, cell, kind):
    with cell("one"):
        first = made(kind, compared)
    with cell("two"):
        bundle_of(first)
    with cell("one"):
        second = made(kind, compared)
    assert not first.is_closed
    with cell("two"):
        bundle_of(second)
    assert not first.is_closed  # someone may hold it
    with cell("one"):
        third = made(kind, compared)
    assert (first.is_closed, second.is_closed) == (True, False)
    second.close()
    third.close()


def test_redisplayed_views_stay_open(compared, cell):
    views = [compared.history.view(), compared.form("answer")]
    for _ in range(2):
        with cell("one"):
            for view in views:
                bundle_of(view)
    assert [view.is_closed for view in views] == [False, False]
    for view in views:
        view.close()


def test_form_that_was_not_displayed_is_closed_by_the_next(cell):
    with cell("one"):
        first = new_form()
    with cell("one"):
        second = new_form()
    assert (first.is_closed, second.is_closed) == (True, False)
    with cell("two"):
        bundle_of(second)
    with cell("one"):
        third = new_form()
    assert not second.is_closed  # the other cell shows it
    second.close()
    third.close()


def test_busy_form_is_closed_after_its_runs_have_ended(cell):
    gate = threading.Event()

    def run(request, _):
        gate.wait(PATIENCE)
        return answer(request)

    with cell("one"):
        first = RunForm(SPEC, run=run, release=release)
        first.value = {"ticket": "hi"}
        first.submit()
    with cell("one"):
        second = new_form()
    assert not first.is_closed
    gate.set()
    first.wait(PATIENCE)
    with cell("one"):
        third = new_form()
    assert (first.is_closed, second.is_closed) == (True, True)
    third.close()


def test_sweep_with_a_closed_view_makes_a_new_one(gated):
    sweep = gated.sweep()
    first = sweep.view()
    first.close()
    second = sweep.view()
    assert second is not first
    assert sweep.view() is second
    gated.gate.release(100)
    until(second, lambda model: model["state"] == "done")
    second.close()
