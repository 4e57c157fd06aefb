"""Loading of the code of a release, from a module or a snapshot."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.machinery import ModuleSpec
from operator import attrgetter
from types import ModuleType
from typing import Any, TypeGuard

from vellum_nb.lazy import load_jsonschema
from vellum_nb.local.callables.workflow import Workflow
from vellum_nb.local.deployments.sources import MODULE, CodeUnavailableError, Snapshot
from vellum_nb.local.engine.events import Code, describe_exception
from vellum_nb.local.refusals import Refused

_LOCK = threading.RLock()
_SDK_MODULE = "vellum_nb.local.sdk.workflow"
_NOTICE_AFTER_S = 2.0
_FIRST_NOTICE = threading.Lock()  # taken by the thread that prints; several can wait for one import
_NOTICE = "Importing Vellum's Workflows SDK, which takes up to 10 s once per session…"


@contextmanager
def slow_import_notice() -> Iterator[None]:
    """Print a notice, once, to standard error if the first import of the SDK takes over 2 s."""

    def notify() -> None:
        imports = _SDK_MODULE in sys.modules  # from the start of its import
        if imports and _FIRST_NOTICE.acquire(blocking=False):
            print(_NOTICE, file=sys.stderr, flush=True)  # noqa: T201 - explains the wait

    timer = threading.Timer(_NOTICE_AFTER_S, notify)
    timer.daemon = True
    if _SDK_MODULE not in sys.modules:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def is_sdk_class(target: object) -> TypeGuard[type[Any]]:
    """Return whether `target` is a Workflows SDK class, without importing the SDK."""
    return isinstance(target, type) and any(
        base.__name__ == "BaseWorkflow" and base.__module__.startswith("vellum.workflows.")
        for base in target.__mro__[1:]
    )


def code_of(target: Any) -> Code:
    """Return the code that runs `target`: a callable or a Workflows SDK class."""
    if is_sdk_class(target):
        load_jsonschema()  # which the SDK imports
        from vellum_nb.local.sdk.workflow import SdkWorkflow  # imports the SDK, which takes seconds

        return SdkWorkflow(target)
    if not callable(target):
        msg = (
            f"{target!r:.80} cannot be called; deploy a function, a Workflows SDK class, or the "
            "Path of a project folder or .py file"
        )
        raise Refused(400, msg)
    return Workflow(target)


def import_path(target: Callable[..., Any]) -> str:
    """Return ``module:qualname`` of `target`, or an empty string if it cannot be imported."""
    module = getattr(target, "__module__", None) or ""
    name = getattr(target, "__qualname__", "")
    if module == "__main__" or module not in sys.modules or not name:
        return ""
    with suppress(AttributeError):  # such as <locals>
        if attrgetter(name)(sys.modules[module]) is target:
            return f"{module}:{name}"
    return ""


def imported(code: str) -> Code:
    """Return the code at ``module:qualname``."""
    if not code:
        msg = "its code was never on disk"
        raise CodeUnavailableError(msg)
    module, _, name = code.partition(":")
    with _import_errors(code, describe_exception):
        return code_of(attrgetter(name)(importlib.import_module(module)))


def load(snapshot: Snapshot, entry: str) -> tuple[str, Code]:
    """Import a module of a snapshot; return the place of the workflow, and its code.

    `entry` is ``name``, ``module:name``, ``module:`` or empty. The default is the only Workflows
    SDK class, or the only function, of the module.
    """
    where, _, name = entry.rpartition(":")
    if not where:  # workflow.py, or the only module of a folder without one
        modules = [path.stem for path in snapshot.folder.glob("*.py") if path.stem != "__init__"]
        where = modules[0] if len(modules) == 1 else MODULE
    with _import_errors(f"{where}.py", partial(_import_problem, snapshot)), _LOCK:
        snapshot.files()
        _make_package(snapshot)
        module = importlib.import_module(f"{snapshot.package}.{where}")
        name = name or _only_workflow(module, where)
        return f"{where}:{name}", code_of(attrgetter(name)(module))


@contextmanager
def _import_errors(source: str, describe: Callable[[BaseException], str]) -> Iterator[None]:
    """Translate exceptions of an import, except an interrupt by the user."""
    try:
        yield
    except CodeUnavailableError:
        raise
    except Refused as exc:
        raise CodeUnavailableError(exc.detail) from exc
    except BaseException as exc:  # an import can raise anything
        is_main = threading.current_thread() is threading.main_thread()
        if isinstance(exc, KeyboardInterrupt) and is_main:
            raise
        msg = f"{source} cannot be imported ({describe(exc)})"
        raise CodeUnavailableError(msg) from exc


def _make_package(snapshot: Snapshot) -> None:
    """Register the package of a snapshot without changing `sys.path`."""
    name, init = snapshot.package, snapshot.folder / "__init__.py"
    places = [str(snapshot.folder)]
    if list(getattr(sys.modules.get(name), "__path__", ())) == places:
        return
    _forget(name)  # another server of this process can have registered it
    spec: ModuleSpec | None = ModuleSpec(name, None, is_package=True)
    if init.is_file():
        spec = importlib.util.spec_from_file_location(name, init, submodule_search_locations=places)
    assert spec is not None  # noqa: S101 - a .py file always has one
    spec.submodule_search_locations = places
    if snapshot.uses_sdk:
        load_jsonschema()
        from vellum_nb.local.sdk.workflow import leave_out_of_ids

        leave_out_of_ids(name)
        # Pulled projects import their display folder, which is for Vellum's editor and needs
        # `vellum_ee`.
        sys.modules[f"{name}.display"] = ModuleType(f"{name}.display")
    sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        if spec.loader is not None:
            spec.loader.exec_module(sys.modules[name])
    except BaseException:
        _forget(name)
        raise


def _forget(package: str) -> None:
    for name in list(sys.modules):
        if name == package or name.startswith(f"{package}."):
            del sys.modules[name]


def _only_workflow(module: ModuleType, where: str) -> str:
    members = {
        key: value
        for key, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not key.startswith("_")
    }
    classes = [key for key, value in members.items() if is_sdk_class(value)]
    names = classes or [key for key, value in members.items() if inspect.isroutine(value)]
    if len(names) == 1:
        return names[0]
    problem = f"defines {', '.join(names)}" if names else "defines no function or Workflow class"
    raise Refused(400, f"{where}.py {problem}; name the one to run with entry='{where}:name'")


def _import_problem(snapshot: Snapshot, exc: BaseException) -> str:
    text = describe_exception(exc).replace(f"{snapshot.package}.", "")
    missing = getattr(exc, "name", None) if isinstance(exc, ModuleNotFoundError) else None
    if missing and (snapshot.folder / f"{missing.partition('.')[0]}.py").is_file():
        text += f"; it is in the same folder: write from .{missing} import ..."
    if missing and missing.partition(".")[0] == "vellum":
        text += '; the Workflows SDK is missing: pip install "vellum-nb[sdk]"'
    if isinstance(exc, NameError):
        text += "; a source must import or define all that it uses"
    return text
