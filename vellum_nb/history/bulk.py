"""Many runs at once, by ADBC in a process of its own; see `bulk_reader`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from vellum_nb.history.bulk_reader import END

__all__ = ["BulkError", "read"]

_READER = Path(__file__).with_name("bulk_reader.py")


class BulkError(Exception):
    """The runs cannot be read this way."""


def read(
    path: Path, sql: str, bound: Sequence[Any], *, rows: int, apart: int
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """Yield what `sql` finds, `rows` rows at a time; the columns from `apart` on by themselves."""
    wanted = {"path": str(path), "sql": sql, "bound": list(bound), "rows": rows, "apart": apart}
    reader = subprocess.Popen(  # noqa: S603 - our own program, no shell
        [sys.executable, "-I", str(_READER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )
    with reader:
        try:
            reader.stdin.write(json.dumps(wanted).encode() + b"\n")
            reader.stdin.close()
            while (sign := reader.stdout.read(1)) != END:
                if not sign:
                    raise BulkError(reader.stderr.read().decode(errors="replace"))
                yield _batch(reader.stdout), _batch(reader.stdout)
        except (OSError, pa.ArrowException) as exc:
            raise BulkError(str(exc)) from exc
        finally:
            reader.kill()


def _batch(source: BinaryIO) -> pa.RecordBatch:
    with pa.ipc.open_stream(source) as stream:
        batch = stream.read_next_batch()
        for _ in stream:  # its end
            pass
    return batch
