"""The code of a release, as an archive or as text."""

import io
import json
import zipfile

import pytest

SHOUT = "def shout(text: str) -> str:\n    return text.upper(){}\n"


def files_of(content: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    assert json.loads(files.pop("metadata.json"))["deployment_name"]
    return files


@pytest.fixture
def pulled(tmp_path, fresh, asking):
    """Serve two releases of a folder, with a file of the kind that shows it in a browser."""
    (tmp_path / "display").mkdir()
    (tmp_path / "display" / "layout.py").write_text("X = 1\n")
    for tag, more in (("v1", ""), ("v2", ' + "!"')):
        (tmp_path / "workflow.py").write_text(SHOUT.format(more))
        fresh.deploy(tmp_path, name="shout", release_tags=[tag], entry="workflow:shout")
    return asking(fresh)


def pull(api, query: str = "", **options):
    answer = api.get(f"/v1/workflows/shout/pull{query}", **options)
    assert answer.status_code == 200, answer.text
    return answer


def test_text_is_given_to_those_who_ask_for_it_and_parts_can_be_left_out(pulled):
    answer = pull(pulled, "?release_tag=v1", headers={"Accept": "text/plain"})
    assert answer.headers["Content-Type"].startswith("text/plain")
    expected = "# display/layout.py\nX = 1\n\n# workflow.py\n" + SHOUT.format("")
    assert answer.text == expected
    assert set(files_of(pull(pulled, "?exclude_display=true").content)) == {"workflow.py"}
    files = files_of(pull(pulled, "?exclude_code=true&include_json=true").content)
    (text,) = files.values()
    release = json.loads(text)
    assert release["deployment"]["name"] == "shout"
    assert [v["key"] for v in release["workflow_version"]["input_variables"]] == ["text"]


def test_a_function_is_pulled_as_its_source(api):
    answer = api.get("/v1/workflows/echo/pull")
    source = 'def echo(text: str) -> str:\n    """Say what was said."""\n    return text\n'
    assert files_of(answer.content) == {"workflow.py": source}


def test_code_that_cannot_be_had_is_refused_with_the_way_to_have_it(fresh, asking):
    fresh.deploy(len, name="length")
    answer = asking(fresh).get("/v1/workflows/length/pull")
    assert answer.status_code == 400
    detail = answer.json()["detail"]
    assert detail.startswith("The source of this release of length is not available")
    assert detail.endswith("deploy a folder, a .py file, or a cell with %%vellum_deploy")
