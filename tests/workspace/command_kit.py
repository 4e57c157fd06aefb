"""The command line within this process, which has imported what takes a second to import."""

import io
import os
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

from vellum_nb.__main__ import main


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments, **environment):
    """Run ``vellum-nb`` with `arguments`, and with what differs in the environment."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n") for _ in range(2))
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, environment))
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        status = main([str(argument) for argument in arguments])
    return Done(status, *(_written(stream) for stream in (out, err)))


def _written(stream):
    stream.flush()
    return stream.buffer.getvalue().decode()
