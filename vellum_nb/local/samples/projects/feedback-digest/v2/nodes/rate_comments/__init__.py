from vellum.workflows.nodes import MapNode
from vellum.workflows.state import BaseState

from ...inputs import Inputs
from .workflow import RateCommentsWorkflow


class RateComments(MapNode[BaseState, str]):
    items = Inputs.comments
    subworkflow = RateCommentsWorkflow
    max_concurrency = 4
