from vellum.workflows.nodes import TemplatingNode
from vellum.workflows.state import BaseState

from ..inputs import Inputs
from .rate_comments import RateComments


class WriteDigest(TemplatingNode[BaseState, str]):
    template = """\
{%- set order = ["bad", "mixed", "good"] if complaints_first else ["good", "mixed", "bad"] -%}
**{{ product }}**: {{ moods | select("equalto", "good") | list | length }} good, \
{{ moods | select("equalto", "bad") | list | length }} bad of {{ comments | length }}
{%- for mood in order %}
{%- for i in range(comments | length) if moods[i] == mood %}
- {{ comments[i] }} ({{ mood }})
{%- endfor %}
{%- endfor %}"""
    inputs = {
        "comments": Inputs.comments,
        "moods": RateComments.Outputs.mood,
        "product": Inputs.product,
        "complaints_first": Inputs.complaints_first,
    }
