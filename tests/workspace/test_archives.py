"""The archive of a pulled release: texts, or a sentence about what it is instead."""

from __future__ import annotations

import io
import zipfile

import pytest

import vellum_nb as vnb
from vellum_nb.workspace.archives import texts_of


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_texts_come_by_path_and_what_is_no_text_by_its_size():
    archive = zipped({"b/": "", "b/x.py": "x = 1\r\n", "a.png": b"\x89PNG\xff", "ä.py": "ä"})
    assert texts_of(archive, "The code") == {
        "a.png": "(5 bytes that are no text)\n",
        "b/x.py": "x = 1\n",
        "ä.py": "ä",
    }


def test_what_is_no_archive_says_so():
    for content in (b"", b"<html>", zipped({"a": "b"})[:-30]):
        with pytest.raises(vnb.APIResponseError, match="The code is no ZIP archive"):
            texts_of(content, "The code")


def test_a_damaged_file_in_it_says_so():
    archive = bytearray(zipped({"a": "some text that is long enough to be spoiled"}))
    archive[40] ^= 0xFF
    with pytest.raises(vnb.APIResponseError, match="no ZIP archive that can be read"):
        texts_of(bytes(archive), "The code")


def test_an_archive_that_would_grow_without_end_is_not_read():
    with pytest.raises(vnb.APIResponseError, match="more than 64 MiB"):
        texts_of(zipped({"a": bytes(65 << 20)}), "The code")
