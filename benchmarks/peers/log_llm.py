"""Record answers with simonw/llm's log; run by the Python of its own environment.

Prints the seconds of one, imports, the making of the database and the answer not counted.
"""

from __future__ import annotations

import sys
import time

import llm
import sqlite_utils
from llm.migrations import migrate

FOLDER, COUNT, TEXT = sys.argv[1], int(sys.argv[2]), sys.argv[3]


class Echo(llm.Model):
    """A model that answers with the prompt."""

    model_id = "echo"

    def execute(self, prompt, *_, **__):
        """Yield the answer."""
        yield prompt.prompt


def main() -> None:
    database = sqlite_utils.Database(f"{FOLDER}/llm.db")
    migrate(database)
    answers = [Echo().prompt(f"{number} {TEXT}") for number in range(COUNT)]
    for answer in answers:
        answer.text()
    answers[0].log_to_db(database)
    started = time.perf_counter()
    for answer in answers[1:]:
        answer.log_to_db(database)
    print((time.perf_counter() - started) / (COUNT - 1))


if __name__ == "__main__":
    main()
