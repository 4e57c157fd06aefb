import re

from vellum.workflows.nodes import BaseNode

from ..inputs import Inputs

GOOD = {"easy", "fast", "good", "great", "helpful", "like", "love", "nice", "perfect", "thanks"}
BAD = {"annoying", "bad", "broken", "bug", "crash", "crashes", "hate", "lost", "slow", "useless"}
TURNS = {"hardly", "isn't", "never", "no", "not", "wasn't"}


class RateComment(BaseNode):
    comment = Inputs.item

    class Outputs(BaseNode.Outputs):
        mood: str

    def run(self) -> BaseNode.Outputs:
        words = re.findall(r"[a-z']+", self.comment.lower())
        score = 0
        for place, word in enumerate(words):
            turned = any(before in TURNS for before in words[max(0, place - 2) : place])
            score += ((word in GOOD) - (word in BAD)) * (-1 if turned else 1)
        mood = "good" if score > 0 else "bad" if score < 0 else "mixed"
        return self.Outputs(mood=mood)
