GOOD = {"easy", "fast", "good", "great", "helpful", "like", "love", "nice", "perfect", "thanks"}
BAD = {"annoying", "bad", "broken", "bug", "crash", "crashes", "hate", "lost", "slow", "useless"}
OPTIONS = {}
TEMPLATE = """\
{{ comments | length }} comment{{ "" if comments | length == 1 else "s" }} about {{ product }}:
{%- for comment in comments %}
- {{ moods[loop.index0] }}: {{ comment }}
{%- endfor %}"""


def score_of(words: list) -> int:
    return sum((word in GOOD) - (word in BAD) for word in words)
