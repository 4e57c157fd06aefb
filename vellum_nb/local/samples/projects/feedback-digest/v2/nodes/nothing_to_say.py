from vellum.workflows.nodes import TemplatingNode
from vellum.workflows.state import BaseState

from ..inputs import Inputs


class NothingToSay(TemplatingNode[BaseState, str]):
    template = "Nobody said anything about {{ product }}."
    inputs = {"product": Inputs.product}
