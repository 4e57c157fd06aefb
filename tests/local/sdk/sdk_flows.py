"""Workflows SDK classes that several tests run."""

from __future__ import annotations

from typing import Any

from vellum.workflows import BaseWorkflow
from vellum.workflows.inputs import BaseInputs
from vellum.workflows.nodes import (
    BaseNode,
    MapNode,
)
from vellum.workflows.outputs import BaseOutput
from vellum.workflows.state import BaseState


class Inputs(BaseInputs):
    """What these workflows take."""

    text: str


class Speak(BaseNode):
    """Say the words one by one, and count them."""

    text = Inputs.text

    class Outputs(BaseNode.Outputs):
        said: str
        words: int

    def run(self):
        words = self.text.split()
        for word in words:
            yield BaseOutput(name="said", delta=f"{word} ")
        yield BaseOutput(name="said", value="".join(f"{word} " for word in words))
        yield BaseOutput(name="words", value=len(words))


class Talk(BaseWorkflow[Inputs, BaseState]):
    """Say it."""

    graph = Speak

    class Outputs(BaseWorkflow.Outputs):
        said = Speak.Outputs.said
        words = Speak.Outputs.words
        again = Speak.Outputs.said.coalesce("nothing")


class Shout(BaseNode):
    """Say it loud."""

    text = Inputs.text

    class Outputs(BaseNode.Outputs):
        said: str

    def run(self) -> BaseNode.Outputs:
        return self.Outputs(said=self.text.upper())


def mapped(suffix: str) -> type:
    """Return a workflow that maps over two items with the SDK's shared inputs."""

    class Join(BaseNode):
        item = MapNode.SubworkflowInputs.item
        text = Inputs.text

        class Outputs(BaseNode.Outputs):
            joined: str

        def run(self) -> BaseNode.Outputs:
            return self.Outputs(joined=f"{self.item}{self.text}{suffix}")

    class Each(BaseWorkflow[MapNode.SubworkflowInputs, BaseState]):
        graph = Join

        class Outputs(BaseWorkflow.Outputs):
            joined = Join.Outputs.joined

    class All(MapNode):
        items = ["1", "2"]
        subworkflow = Each

    class Mapped(BaseWorkflow[Inputs, BaseState]):
        graph = All

        class Outputs(BaseWorkflow.Outputs):
            joined = All.Outputs.joined

    return Mapped


def of(node: type, **outputs: Any) -> type:
    """Return a workflow of one node."""

    class One(BaseWorkflow[Inputs, BaseState]):
        graph = node
        Outputs = type("Outputs", (), outputs)

    return One
