from typing import List

from vellum.workflows.inputs import BaseInputs


class Inputs(BaseInputs):
    item: str
    index: int
    items: List[str]
