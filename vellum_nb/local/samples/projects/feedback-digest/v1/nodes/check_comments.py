from vellum.workflows.nodes import ConditionalNode
from vellum.workflows.ports import Port
from vellum.workflows.state import BaseState

from ..inputs import Inputs


class CheckComments(ConditionalNode[BaseState]):
    class Ports(ConditionalNode.Ports):
        nothing = Port.on_if(Inputs.comments.equals([]))
        something = Port.on_else()
