"""Run, record and compare Vellum workflow releases from a notebook.

>>> import vellum_nb as vnb
>>> ws = vnb.connect("local", history=":memory:")
>>> ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag="v2").state
'FULFILLED'

Public names are those in ``__all__``. They are imported on first use, so ``import vellum_nb`` is
fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vellum_nb.client import Client
    from vellum_nb.comparison import (
        Comparison,
        Decision,
        Decisions,
        Metric,
        ReleaseResult,
        metrics,
        read_evals,
    )
    from vellum_nb.errors import (
        APIConnectionError,
        APIError,
        APIResponseError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        HistoryError,
        InconclusiveError,
        InputError,
        NotFoundError,
        OutOfReachError,
        RateLimitError,
        RegressionError,
        ServerError,
        VellumNBError,
    )
    from vellum_nb.history import (
        History,
        check_history,
        read_csv,
        read_jsonl,
        read_parquet,
    )
    from vellum_nb.local import Isolation, LocalServer, Reject
    from vellum_nb.models import Run
    from vellum_nb.sweep import (
        CaseSet,
        Conversation,
        Limits,
        StopWhen,
        Sweep,
        SweepPlan,
        read_cases,
    )
    from vellum_nb.widgets.form import RunForm
    from vellum_nb.widgets.grid import ComparisonView
    from vellum_nb.widgets.lab import LabPanel
    from vellum_nb.widgets.sweep_view import SweepView
    from vellum_nb.widgets.table import HistoryView
    from vellum_nb.workspace import Workspace, compare, connect

__version__ = "0.1.0"

_HOMES = {
    "connect": "workspace",
    "Workspace": "workspace",
    "Client": "client",
    "LocalServer": "local",
    "Isolation": "local",
    "Reject": "local",
    "History": "history",
    "read_csv": "history",
    "read_jsonl": "history",
    "read_parquet": "history",
    "read_evals": "comparison",
    "read_cases": "sweep",
    "check_history": "history",
    "Run": "models",
    "Comparison": "comparison",
    "Decision": "comparison",
    "Decisions": "comparison",
    "ReleaseResult": "comparison",
    "compare": "workspace",
    "Metric": "comparison",
    "metrics": "comparison",
    "Sweep": "sweep",
    "SweepPlan": "sweep",
    "Limits": "sweep",
    "CaseSet": "sweep",
    "Conversation": "sweep",
    "StopWhen": "sweep",
    "RunForm": "widgets.form",
    "HistoryView": "widgets.table",
    "LabPanel": "widgets.lab",
    "SweepView": "widgets.sweep_view",
    "ComparisonView": "widgets.grid",
    "VellumNBError": "errors",
    "APIError": "errors",
    "APIConnectionError": "errors",
    "APITimeoutError": "errors",
    "APIStatusError": "errors",
    "BadRequestError": "errors",
    "AuthenticationError": "errors",
    "NotFoundError": "errors",
    "RateLimitError": "errors",
    "ServerError": "errors",
    "APIResponseError": "errors",
    "InputError": "errors",
    "HistoryError": "errors",
    "OutOfReachError": "errors",
    "RegressionError": "errors",
    "InconclusiveError": "errors",
}

__all__ = [
    "connect",
    "Workspace",
    "Client",
    "LocalServer",
    "Isolation",
    "Reject",
    "History",
    "read_csv",
    "read_jsonl",
    "read_parquet",
    "read_evals",
    "read_cases",
    "check_history",
    "Run",
    "Comparison",
    "Decision",
    "Decisions",
    "ReleaseResult",
    "compare",
    "Metric",
    "metrics",
    "Sweep",
    "SweepPlan",
    "CaseSet",
    "Conversation",
    "Limits",
    "StopWhen",
    "RunForm",
    "HistoryView",
    "LabPanel",
    "SweepView",
    "ComparisonView",
    "VellumNBError",
    "APIError",
    "APIConnectionError",
    "APITimeoutError",
    "APIStatusError",
    "BadRequestError",
    "AuthenticationError",
    "NotFoundError",
    "RateLimitError",
    "ServerError",
    "APIResponseError",
    "InputError",
    "HistoryError",
    "OutOfReachError",
    "RegressionError",
    "InconclusiveError",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        msg = f"module 'vellum_nb' has no attribute {name!r}; available: {', '.join(__all__)}"
        raise AttributeError(msg)
    value = getattr(import_module(f"vellum_nb.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


def load_ipython_extension(shell: object) -> None:
    """Register ``%%vellum_deploy`` for the embedded local server: ``%load_ext vellum_nb``."""
    from vellum_nb.local import magic
    from vellum_nb.workspace.connect import embedded_server

    magic.register(shell, embedded_server)
