"""Ends a run whose node ends its thread, which the SDK would wait for without end."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from vellum.workflows import BaseWorkflow
from vellum.workflows.errors import WorkflowErrorCode
from vellum.workflows.exceptions import NodeException
from vellum.workflows.nodes import BaseNode

from vellum_nb.local.engine.events import describe_exception
from vellum_nb.local.sdk.sharing import with_inner

__all__ = ["end_with_nodes"]


def end_with_nodes(workflow: type[BaseWorkflow[Any, Any]]) -> None:
    """Have the nodes of `workflow` fail where they raise what is no ``Exception``.

    The SDK catches an ``Exception`` and nothing else: after ``sys.exit()`` in a node, or a
    cancelled call of asyncio, it waits for a thread that is gone.
    """
    for inner in with_inner(workflow):
        for node in inner.get_all_nodes():
            for base in node.__mro__:
                run = vars(base).get("run")
                if inspect.isfunction(run) and not base.__module__.startswith("vellum."):
                    _guard(base, run)


def _guard(node: type[BaseNode[Any]], run: Callable[..., Any]) -> None:
    if hasattr(run, "__guarded__"):
        return

    @functools.wraps(run)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        with _as_node_error():
            return run(*args, **kwargs)

    @functools.wraps(run)
    def guarded_stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with _as_node_error():
            yield from run(*args, **kwargs)

    replaced: Any = guarded_stream if inspect.isgeneratorfunction(run) else guarded
    replaced.__guarded__ = True
    node.run = replaced  # type: ignore[method-assign]


@contextmanager
def _as_node_error() -> Iterator[None]:
    try:
        yield
    except (Exception, GeneratorExit):
        raise
    except BaseException as exc:
        raise NodeException(describe_exception(exc), code=WorkflowErrorCode.NODE_EXECUTION) from exc
