from typing import Annotated, List

from pydantic import Field
from vellum.workflows.inputs import BaseInputs


class Inputs(BaseInputs):
    comments: Annotated[List[str], Field(description="What customers said, one text each.")]
    product: Annotated[str, Field(description="What they talk about.")] = "the app"
