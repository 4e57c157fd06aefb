"""What the routes need at hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Path, Request

from vellum_nb.local.deployments.registry import Registry
from vellum_nb.local.deployments.releases import Deployment
from vellum_nb.local.engine.executions import Executions
from vellum_nb.local.ledger.ledger import Ledger
from vellum_nb.local.prompts import Models

__all__ = ["Named", "Served", "State"]


@dataclass(frozen=True, slots=True)
class State:
    """The registry, the executions and the ledger of one running server."""

    registry: Registry
    executions: Executions
    ledger: Ledger
    started: datetime
    models: Models = field(default_factory=Models)


async def _state(request: Request) -> State:
    state: State = request.app.state.served
    return state


Served = Annotated[State, Depends(_state)]


async def _named(
    state: Served,
    id: Annotated[str, Path(description="Its id (a UUID) or its name.")],  # noqa: A002
) -> Deployment:
    return state.registry.get(id)


Named = Annotated[Deployment, Depends(_named)]
