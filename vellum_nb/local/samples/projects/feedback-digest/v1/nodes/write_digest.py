from vellum.workflows.nodes import TemplatingNode
from vellum.workflows.state import BaseState

from ..inputs import Inputs
from .rate_comments import RateComments


class WriteDigest(TemplatingNode[BaseState, str]):
    template = """\
{{ comments | length }} comment{{ "" if comments | length == 1 else "s" }} about {{ product }}:
{%- for comment in comments %}
- {{ moods[loop.index0] }}: {{ comment }}
{%- endfor %}"""
    inputs = {
        "comments": Inputs.comments,
        "moods": RateComments.Outputs.mood,
        "product": Inputs.product,
    }
