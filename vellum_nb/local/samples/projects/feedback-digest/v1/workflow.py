import re
from typing import List

from vellum.workflows import BaseWorkflow
from vellum.workflows.inputs import BaseInputs
from vellum.workflows.nodes import (
    BaseNode,
    ConditionalNode,
    FinalOutputNode,
    MapNode,
    TemplatingNode,
)
from vellum.workflows.ports import Port
from vellum.workflows.state import BaseState

from .digest import OPTIONS, TEMPLATE, score_of
from .inputs import Inputs


class CheckComments(ConditionalNode[BaseState]):
    class Ports(ConditionalNode.Ports):
        nothing = Port.on_if(Inputs.comments.equals([]))
        something = Port.on_else()


class NothingToSay(TemplatingNode[BaseState, str]):
    template = "Nobody said anything about {{ product }}."
    inputs = {"product": Inputs.product}


class _Comment(BaseInputs):
    item: str
    index: int
    items: List[str]


class RateComment(BaseNode):
    comment = _Comment.item

    class Outputs(BaseNode.Outputs):
        mood: str

    def run(self) -> BaseNode.Outputs:
        score = score_of(re.findall(r"[a-z']+", self.comment.lower()))
        mood = "good" if score > 0 else "bad" if score < 0 else "mixed"
        return self.Outputs(mood=mood)


class _RateCommentsWorkflow(BaseWorkflow[_Comment, BaseState]):
    graph = RateComment

    class Outputs(BaseWorkflow.Outputs):
        mood = RateComment.Outputs.mood


class RateComments(MapNode[BaseState, str]):
    items = Inputs.comments
    subworkflow = _RateCommentsWorkflow
    max_concurrency = 4


class WriteDigest(TemplatingNode[BaseState, str]):
    template = TEMPLATE
    inputs = {
        "comments": Inputs.comments,
        "moods": RateComments.Outputs.mood,
        "product": Inputs.product,
        **OPTIONS,
    }


class FinalOutput(FinalOutputNode[BaseState, str]):
    class Outputs(FinalOutputNode.Outputs):
        value = WriteDigest.Outputs.result.coalesce(NothingToSay.Outputs.result)


class FeedbackDigestWorkflow(BaseWorkflow[Inputs, BaseState]):
    """Digest what customers say."""

    graph = {
        CheckComments.Ports.nothing >> NothingToSay,
        CheckComments.Ports.something >> RateComments >> WriteDigest,
    } >> FinalOutput

    class Outputs(BaseWorkflow.Outputs):
        digest = FinalOutput.Outputs.value
        moods = RateComments.Outputs.mood
