"""The code of two releases: hostile code stays text."""

from dom_kit import dom, text_of, texts
from runs_kit import html_of

from vellum_nb.rendering.diff import CodeDiff


def diff(before, after):
    return CodeDiff("<b>d</b>", "v1", "v2", before, after)


def test_new_and_deleted_files_and_lines_are_reported():
    text = diff({"old.py": "a\n"}, {"new.py": "b\n"}).text
    assert "--- /dev/null\n+++ v2/new.py\n@@ -0,0 +1 @@\n+b\n" in text
    assert "--- v1/old.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n" in text
    # only line feeds end a line, and the last one may be missing
    text = diff({"a": "x\u2028y\n1"}, {"a": "x\u2028y\n2"}).text
    assert " x\u2028y\n" in text
    assert text.endswith("-1\n\\ No newline at end of file\n+2\n\\ No newline at end of file\n")


def test_code_names_and_tags_are_escaped():
    evil = "<script>alert(1)</script>"
    html = html_of(CodeDiff("d", evil, "v2", {evil: "a"}, {evil: f'"{evil}"'}))
    assert not dom(html).select("script")
    assert text_of(html).count(evil) >= 3  # a tag, a file and its content


def test_distant_lines_are_folded():
    lines = [f"line {n}\n" for n in range(1_000)]
    found = diff({"a": "".join(lines)}, {"a": "".join([*lines[:500], "line new\n", *lines[501:]])})
    shown = dom(html_of(found))
    before = [text_of(side.select_one("summary")) for side in shown.select(".vnb-code-sides > pre")]
    assert before == ["1,001 unchanged words"] * 2
    assert texts(html_of(found), "del, ins") == ["500", "new"]
