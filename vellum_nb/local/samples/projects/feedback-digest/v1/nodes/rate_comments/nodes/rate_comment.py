import re

from vellum.workflows.nodes import BaseNode

from ..inputs import Inputs

GOOD = {"easy", "fast", "good", "great", "helpful", "like", "love", "nice", "perfect", "thanks"}
BAD = {"annoying", "bad", "broken", "bug", "crash", "crashes", "hate", "lost", "slow", "useless"}


class RateComment(BaseNode):
    comment = Inputs.item

    class Outputs(BaseNode.Outputs):
        mood: str

    def run(self) -> BaseNode.Outputs:
        words = re.findall(r"[a-z']+", self.comment.lower())
        score = sum((word in GOOD) - (word in BAD) for word in words)
        mood = "good" if score > 0 else "bad" if score < 0 else "mixed"
        return self.Outputs(mood=mood)
