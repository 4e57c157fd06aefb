"""Many runs at once, by ADBC in a process of its own; see `bulk_reader`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from vellum_nb.history.rows.frames import KINDS, PLAIN, ROOMS
from vellum_nb.history.store.large import Read, restored
from vellum_nb.history.store.store import Batches

__all__ = ["BATCH", "SCALARS", "BulkError", "read", "whole"]

BATCH = 2**22  # bytes; what is larger leaves the caches, and costs fresh pages each time
_PIPE = 2**20  # bytes; the usual 64 kB make the two wait for each other
_FEWEST, _MOST = 64, 8192  # runs
_OF_KIND = {"time": "0", "int": "0", "count": "0", "float": "0.0"}
_TEXT = "''"
_READER = Path(__file__).with_name("bulk_reader.py")


class BulkError(Exception):
    """The runs cannot be read this way."""


SCALARS = (*PLAIN, "metadata")
_TYPED = ", ".join(
    f"{_OF_KIND.get(KINDS.get(name, 'text'), _TEXT)} AS {name}"
    for name in (*SCALARS, *ROOMS.values(), "large")
)


def read(path: Path, sql: str, bound: Sequence[Any], *, size: int) -> Batches:
    """Yield what the query of `reads.bulk` finds; `size` is the usual one of a run, in bytes."""
    wanted = {
        "path": str(path),
        "sql": f"SELECT {_TYPED} UNION ALL SELECT * FROM ({sql})",
        "bound": list(bound),
        "rows": min(max(BATCH // max(size, 1), _FEWEST), _MOST),
        "apart": len(SCALARS),
    }
    try:
        with _started() as reader:
            told, answer, complaint = map(_given, (reader.stdin, reader.stdout, reader.stderr))
            try:
                with suppress(BrokenPipeError), told:
                    told.write(json.dumps(wanted).encode() + b"\n")
                yield from _pairs(answer)
                problem = complaint.read().decode(errors="replace").strip().rpartition("\n")[2]
                if code := reader.wait():
                    msg = f"the process that reads them ended with {code}: {problem}"
                    raise BulkError(msg)
            finally:
                reader.kill()
    except (OSError, pa.ArrowException) as exc:
        raise BulkError(str(exc)) from exc


def whole(read: Read, batches: Batches) -> Batches:
    """Yield the same batches with their large values back in place."""
    for scalars, lines in batches:
        if lines["large"].null_count == len(lines):
            yield scalars, lines
            continue
        columns = zip(*(lines[name].to_pylist() for name in lines.schema.names), strict=True)
        rows = restored(read, list(columns), tuple(ROOMS.values()))
        texts = zip(*rows, strict=True)
        arrays = [pa.array([f"{text}\n" for text in some], pa.large_string()) for some in texts]
        yield scalars, pa.record_batch(arrays, list(ROOMS.values()))


def _started() -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own program, no shell
        [sys.executable, "-I", str(_READER), *filter(None, sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pipesize=_PIPE,
        process_group=0,  # an interrupt is for who reads; it ends the reader
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def _given(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # noqa: S101 - they are pipes
    return stream


def _pairs(source: IO[bytes]) -> Batches:
    messages = _messages(source)
    schemas = [pa.ipc.read_schema(message) for message in islice(messages, 2)]
    for pair in zip(messages, messages, strict=False):  # one alone is of a reader that broke down
        scalars, lines = map(pa.ipc.read_record_batch, pair, schemas)
        for batch in (scalars, lines):
            batch.validate(full=True)  # of a damaged file a text may be none
        yield scalars, lines


def _messages(source: IO[bytes]) -> Iterator[pa.Message]:
    while True:
        try:
            yield pa.ipc.read_message(source)
        except EOFError:
            return
