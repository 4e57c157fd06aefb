from .inputs import Inputs

GOOD = {"easy", "fast", "good", "great", "helpful", "like", "love", "nice", "perfect", "thanks"}
BAD = {"annoying", "bad", "broken", "bug", "crash", "crashes", "hate", "lost", "slow", "useless"}
TURNS = {"hardly", "isn't", "never", "no", "not", "wasn't"}
OPTIONS = {"complaints_first": Inputs.complaints_first}
TEMPLATE = """\
{%- set order = ["bad", "mixed", "good"] if complaints_first else ["good", "mixed", "bad"] -%}
**{{ product }}**: {{ moods | select("equalto", "good") | list | length }} good, \
{{ moods | select("equalto", "bad") | list | length }} bad of {{ comments | length }}
{%- for mood in order %}
{%- for i in range(comments | length) if moods[i] == mood %}
- {{ comments[i] }} ({{ mood }})
{%- endfor %}
{%- endfor %}"""


def score_of(words: list) -> int:
    score = 0
    for place, word in enumerate(words):
        turned = any(before in TURNS for before in words[max(0, place - 2) : place])
        score += ((word in GOOD) - (word in BAD)) * (-1 if turned else 1)
    return score
