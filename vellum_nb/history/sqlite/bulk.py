"""Many runs at once, by ADBC in a process of its own; see `bulk_reader`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from vellum_nb.history.rows.frames import KINDS, PLAIN, ROOMS
from vellum_nb.history.store.large import Read, restored

__all__ = ["BATCH", "SCALARS", "BulkError", "read", "whole"]

BATCH = 2**24  # bytes
_PIPE = 2**20  # bytes; the usual 64 kB make the two wait for each other
_FEWEST, _MOST = 64, 8192  # runs
_OF_KIND = {"time": "0", "int": "0", "count": "0", "float": "0.0"}
_TEXT = "''"
_READER = Path(__file__).with_name("bulk_reader.py")


_END = b"\x00"


class BulkError(Exception):
    """The runs cannot be read this way."""


SCALARS = (*PLAIN, "metadata")
_TYPED = ", ".join(
    f"{_OF_KIND.get(KINDS.get(name, 'text'), _TEXT)} AS {name}"
    for name in (*SCALARS, *ROOMS.values(), "large")
)


def read(
    path: Path, sql: str, bound: Sequence[Any], *, size: int
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """Yield what the query of `reads.bulk` finds; `size` is the usual one of a run, in bytes."""
    wanted = {
        "path": str(path),
        "sql": f"SELECT {_TYPED} UNION ALL SELECT * FROM ({sql})",
        "bound": list(bound),
        "rows": min(max(BATCH // max(size, 1), _FEWEST), _MOST),
        "apart": len(SCALARS),
    }
    try:
        reader = _started()
        told, answer, complaint = map(_given, (reader.stdin, reader.stdout, reader.stderr))
        with reader:
            try:
                told.write(json.dumps(wanted).encode() + b"\n")
                told.close()
                while (sign := answer.read(1)) != _END:
                    if not sign:
                        raise BulkError(complaint.read().decode(errors="replace"))
                    yield _batch(answer), _batch(answer)
            finally:
                reader.kill()
    except (OSError, pa.ArrowException) as exc:
        raise BulkError(str(exc)) from exc


def whole(
    read: Read, batches: Iterable[tuple[pa.RecordBatch, pa.RecordBatch]]
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
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
        [sys.executable, "-I", str(_READER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pipesize=_PIPE,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def _given(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # noqa: S101 - they are pipes
    return stream


def _batch(source: IO[bytes]) -> pa.RecordBatch:
    with pa.ipc.open_stream(source) as stream:
        batch = stream.read_next_batch()
        for _ in stream:  # its end
            pass
    return batch
