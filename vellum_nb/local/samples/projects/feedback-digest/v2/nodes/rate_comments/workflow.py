from vellum.workflows import BaseWorkflow
from vellum.workflows.state import BaseState

from .inputs import Inputs
from .nodes.rate_comment import RateComment


class RateCommentsWorkflow(BaseWorkflow[Inputs, BaseState]):
    graph = RateComment

    class Outputs(BaseWorkflow.Outputs):
        mood = RateComment.Outputs.mood
