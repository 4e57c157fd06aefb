"""Patches of the Workflows SDK: shared inputs, stable ids, nodes that end their thread."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

from vellum.workflows import BaseWorkflow
from vellum.workflows.errors import WorkflowErrorCode
from vellum.workflows.exceptions import NodeException
from vellum.workflows.inputs import BaseInputs
from vellum.workflows.loaders.base import BaseWorkflowFinder

from vellum_nb.local.engine.events import describe_exception


class _Namespace(BaseWorkflowFinder):
    """Finder for the SDK: a package's name is only where a project happens to be loaded."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Find nothing: the modules are ordinary files."""

    def format_error_message(self, error_message: str) -> str:
        """Return the message with the project's own module names."""
        return error_message.replace(f"{self.namespace}.", "")

    def virtual_open(self, file_path: str) -> StringIO | None:  # noqa: ARG002 - the SDK names it
        """Open nothing: the files are ordinary ones."""
        return None


class _UsersOfInputs(type(BaseWorkflow)):  # type: ignore[misc]
    """The type of a class that is equal to every workflow with certain inputs."""

    inputs: type[BaseInputs]

    def __eq__(cls, other: object) -> bool:
        is_workflow = isinstance(other, type) and issubclass(other, BaseWorkflow)
        return cls is other or (is_workflow and issubclass(other.get_inputs_class(), cls.inputs))  # type: ignore[attr-defined]

    __hash__ = type.__hash__


def leave_out_of_ids(package: str) -> None:
    """Have the SDK make ids as if the modules of `package` were at the top.

    The SDK makes the ids of nodes, inputs and outputs from module paths, and each release of a
    project is loaded as a package of its own name. Call it before the project is imported.
    """
    if not any(getattr(finder, "namespace", "") == package for finder in sys.meta_path):
        sys.meta_path.append(_Namespace(package))


def with_inner(workflow: type[BaseWorkflow[Any, Any]]) -> list[type[BaseWorkflow[Any, Any]]]:
    """Return `workflow` and the workflows in its nodes, however deep, each once."""
    found = [workflow]
    for outer in found:  # it grows
        for node in outer.get_all_nodes():
            inner = [reference.instance for reference in node]
            found += [
                each
                for each in dict.fromkeys(i for i in inner if isinstance(i, type))
                if issubclass(each, BaseWorkflow) and each not in found
            ]
    return found


def share_inputs(workflow: type[BaseWorkflow[Any, Any]]) -> None:
    """Make the inputs of `workflow`, and of those inside it, resolve in all that have the same.

    The SDK resolves ``Inputs.text`` only in the workflow that ``Inputs.__parent_class__`` names,
    which is the first one: a second release in the same notebook would miss its inputs, and a
    second map those of ``MapNode.SubworkflowInputs``. The ids of the inputs are made from that
    first workflow's id and stay as they are.
    """
    for inner in with_inner(workflow):
        for inputs in inner.get_inputs_class().__mro__:
            first: Any = getattr(inputs, "__parent_class__", object)
            if inputs is BaseInputs or isinstance(first, _UsersOfInputs):
                continue
            if issubclass(inputs, BaseInputs) and issubclass(first, BaseWorkflow):
                names = ("__module__", "__qualname__")
                body = {name: getattr(first, name) for name in names}
                body |= {"Outputs": type("Outputs", (), {}), "inputs": inputs}
                users = _UsersOfInputs(first.__name__, (BaseWorkflow,), body)
                users.__id__ = first.__id__
                inputs.__parent_class__ = users


def fail_with_nodes(workflow: type[BaseWorkflow[Any, Any]]) -> None:
    """Have the nodes of `workflow` fail when they raise something that is not an ``Exception``.

    The SDK catches an ``Exception`` and nothing else: after ``sys.exit()`` in a node, or a
    cancelled call of asyncio, it would wait for ever for a thread that has ended.
    """
    for inner in with_inner(workflow):
        for base in {base for node in inner.get_all_nodes() for base in node.__mro__}:
            run: Any = vars(base).get("run")
            is_own = inspect.isfunction(run) and not base.__module__.startswith("vellum.")
            if is_own and not hasattr(run, "__guarded__"):
                base.run = _guarded(run)  # type: ignore[attr-defined]


def _guarded(run: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(run)
    def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with _as_node_error():
            yield from run(*args, **kwargs)

    guarded: Any = stream if inspect.isgeneratorfunction(run) else _as_node_error()(run)
    guarded.__guarded__ = True
    return guarded  # type: ignore[no-any-return]


@contextmanager
def _as_node_error() -> Iterator[None]:
    try:
        yield
    except (Exception, GeneratorExit):
        raise
    except BaseException as exc:
        raise NodeException(describe_exception(exc), code=WorkflowErrorCode.NODE_EXECUTION) from exc
