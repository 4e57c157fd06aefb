from vellum.workflows import BaseWorkflow
from vellum.workflows.state import BaseState

from .inputs import Inputs
from .nodes.check_comments import CheckComments
from .nodes.final_output import FinalOutput
from .nodes.nothing_to_say import NothingToSay
from .nodes.rate_comments import RateComments
from .nodes.write_digest import WriteDigest


class FeedbackDigestWorkflow(BaseWorkflow[Inputs, BaseState]):
    """Digest what customers say."""

    graph = {
        CheckComments.Ports.nothing >> NothingToSay,
        CheckComments.Ports.something >> RateComments >> WriteDigest,
    } >> FinalOutput

    class Outputs(BaseWorkflow.Outputs):
        digest = FinalOutput.Outputs.value
        moods = RateComments.Outputs.mood
