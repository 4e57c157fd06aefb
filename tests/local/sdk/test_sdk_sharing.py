"""Releases that share an Inputs class, which the SDK binds to the first of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sdk_flows import Inputs, Shout, Talk, mapped
from sdk_kit import run
from vellum.workflows import BaseWorkflow
from vellum.workflows.nodes import (
    BaseNode,
)
from vellum.workflows.state import BaseState


class Loud(BaseWorkflow[Inputs, BaseState]):
    """Another release with the same inputs."""

    graph = Shout

    class Outputs(BaseWorkflow.Outputs):
        said = Shout.Outputs.said


class Heir(Talk):
    """A release made of another."""


class MoreInputs(Inputs):
    """One input more."""

    end: str = "!"


class Finish(BaseNode):
    """Use an input of the base class and an own one."""

    text = Inputs.text
    end = MoreInputs.end

    class Outputs(BaseNode.Outputs):
        said: str

    def run(self) -> BaseNode.Outputs:
        return self.Outputs(said=self.text + self.end)


class Ended(BaseWorkflow[MoreInputs, BaseState]):
    """A release with one input more."""

    graph = Finish

    class Outputs(BaseWorkflow.Outputs):
        said = Finish.Outputs.said


def test_releases_that_share_inputs_run_side_by_side():
    expected = {Talk: "a ", Loud: "A", Heir: "a ", Ended: "a!"}
    jobs = [workflow for workflow in expected for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda w: run(w, {"text": "a"}).outputs["said"], jobs))
    assert said == [expected[workflow] for workflow in jobs]


def test_two_maps_with_the_sdk_s_own_inputs_do_not_meet():
    first, second = mapped("x"), mapped("y")
    assert run(second, {"text": "-"}).outputs == {"joined": ["1-y", "2-y"]}
    assert run(first, {"text": "-"}).outputs == {"joined": ["1-x", "2-x"]}
