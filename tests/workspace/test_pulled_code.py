"""The archive of a pulled release: texts, or a sentence about what it is instead."""

import io
import tracemalloc
import zipfile

import pytest

import vellum_nb as vnb
from vellum_nb.workspace.lookup import texts_of


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_texts_come_by_path_and_what_is_no_text_no_archive_or_too_large_says_so():
    archive = zipped({"b/": "", "b/x.py": "x = 1\r\n", "a.png": b"\x89PNG\xff", "ä.py": "ä"})
    assert texts_of(archive, "The code") == {
        "a.png": "(5 bytes that are not text)\n",
        "b/x.py": "x = 1\n",
        "ä.py": "ä",
    }
    for content in (b"", b"<html>", zipped({"a": "b"})[:-30]):
        with pytest.raises(vnb.APIResponseError, match="The code is not a readable ZIP archive"):
            texts_of(content, "The code")
    with pytest.raises(vnb.APIResponseError, match="more than 64 MiB"):
        texts_of(zipped({"a": bytes(65 << 20)}), "The code")


@pytest.mark.parametrize("path", ["../x.py", "a/../../x.py", "/etc/x.py", "C:\\x.py", "..\\x.py"])
def test_paths_that_lead_out_of_the_folder_are_refused(path):
    with pytest.raises(vnb.APIResponseError, match="lead out of its folder"):
        texts_of(zipped({path: "x"}), "The code")


def test_a_file_that_is_longer_than_it_says_grows_no_further():
    archive = zipped({"a": bytes(32 << 20)})
    size, lie = (32 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little")
    assert archive.count(size) == 2
    tracemalloc.start()
    try:
        with pytest.raises(vnb.APIResponseError, match="not a readable ZIP archive"):
            texts_of(archive.replace(size, lie), "The code")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_with_any_byte_spoiled_is_read_or_refused(kind):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        archive.writestr("a.py", "x = 1\n" * 20)
    whole = buffer.getvalue()
    refused = 0
    for place in range(len(whole)):
        spoiled = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        try:
            texts_of(spoiled, "The code")
        except vnb.APIResponseError:
            refused += 1
    assert refused > 10
