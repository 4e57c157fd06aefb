"""Workflows SDK classes that several tests run."""

from typing import Any, List, Optional

from vellum import ChatMessage
from vellum.workflows import BaseWorkflow
from vellum.workflows.inputs import BaseInputs
from vellum.workflows.nodes import BaseNode, MapNode
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


class Memory(BaseState):
    """What is remembered."""

    turns: int = 0
    said: List[ChatMessage] = []
    note: Optional[str] = None


class Remember(BaseNode[Memory]):
    text = Inputs.text

    class Outputs(BaseNode.Outputs):
        turn: int

    def run(self) -> BaseNode.Outputs:
        self.state.turns += 1
        self.state.said = [*self.state.said, ChatMessage(role="USER", text=self.text)]
        assert all(isinstance(message, ChatMessage) for message in self.state.said)
        return self.Outputs(turn=self.state.turns)


class Chat(BaseWorkflow[Inputs, Memory]):
    """Remember."""

    graph = Remember

    class Outputs(BaseWorkflow.Outputs):
        turn = Remember.Outputs.turn
        said = Memory.said


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
