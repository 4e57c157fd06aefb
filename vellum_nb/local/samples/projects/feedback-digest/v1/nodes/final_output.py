from vellum.workflows.nodes import FinalOutputNode
from vellum.workflows.state import BaseState

from .nothing_to_say import NothingToSay
from .write_digest import WriteDigest


class FinalOutput(FinalOutputNode[BaseState, str]):
    class Outputs(FinalOutputNode.Outputs):
        value = WriteDigest.Outputs.result.coalesce(NothingToSay.Outputs.result)
