"""A comparison as CSV and Parquet, which restore an equal frame."""

import time

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_kit import compared, judged, run
from table_kit import ENCODABLE_TEXTS, VALUES, assert_equal

from vellum_nb import HistoryError, InputError, Metric, read_csv
from vellum_nb.models import case_id
from vellum_nb.models.sweeps import SweepCase

figure = st.floats(-9e99, 9e99) | st.booleans() | st.none()
names = st.lists(ENCODABLE_TEXTS, min_size=1, max_size=3, unique=True)


@st.composite
def comparisons(draw):
    inputs, outputs, labels = draw(names), draw(names), draw(names)
    made = [
        {name: draw(VALUES) for name in inputs if draw(st.booleans())}
        for _ in range(draw(st.integers(0, 4)))
    ]
    cases = {id_of(case): case for case in made if id_of(case)}
    tags = draw(
        st.lists(st.sampled_from(["v1", "=v2", "v 3", "é"]), min_size=1, max_size=3, unique=True)
    )
    runs = [
        run(tag, inputs=case, outputs={n: draw(VALUES) for n in outputs if draw(st.booleans())})
        for case in cases.values()
        for tag in tags
        for _ in range(draw(st.integers(0, 2)))
    ]
    known = [
        SweepCase(
            at, key, case, {draw(ENCODABLE_TEXTS): draw(VALUES)}, {n: draw(VALUES) for n in labels}
        )
        for at, (key, case) in enumerate(cases.items())
    ]
    by_run = {each.id: draw(figure) for each in runs}
    metric = Metric(lambda found: by_run[found.id], name="figure")
    return compared(*runs, tags=tags, cases=known, metrics=metric)


def id_of(case):
    try:
        return case_id(case)
    except ValueError:  # NaN and infinities
        return ""


@pytest.mark.slow
@settings(max_examples=30)
@given(comparison=comparisons())
@pytest.mark.parametrize("rows", ["cases", "runs"])
def test_the_csv_reads_back_to_the_same_frame(tmp_path_factory, rows, comparison):
    path = tmp_path_factory.mktemp("csv") / "comparison.csv"
    written = comparison.frame() if rows == "cases" else comparison.frame(rows="runs")
    assert comparison.to_csv(path, rows=rows) == path
    assert_equal(read_csv(path), written)


@pytest.mark.filterwarnings("ignore:Mismatched null-like:FutureWarning")  # pandas 2: None, NaN
def test_parquet_holds_every_row_and_column(tmp_path):
    cmp = judged({"v1": ["yes", "no", None], "v2": ["no", "no", "yes"]})
    for rows, frame in (("cases", cmp.frame()), ("runs", cmp.frame(rows="runs"))):
        read = pd.read_parquet(cmp.to_parquet(tmp_path / "comparison.parquet", rows=rows))
        assert list(read.columns) == list(frame.columns)
        pd.testing.assert_frame_equal(read, frame, check_dtype=False, check_categorical=False)
    runs = [run("v1", "a", 1), run("v1", "b", "one"), run("v1", "c", [1])]
    path = compared(*runs, tags=["v1"]).to_parquet(tmp_path / "mixed.parquet")
    assert pd.read_parquet(path)["output.answer@v1"].tolist() == ["1", '"one"', '"[1]"']


@pytest.mark.slow
def test_no_row_is_left_out(tmp_path):
    number = 3_000
    cmp = judged({"v1": ["yes"] * number, "v2": ["no"] * number})
    assert len(read_csv(cmp.to_csv(tmp_path / "a.csv"))) == number
    assert len(read_csv(cmp.to_csv(tmp_path / "b.csv", rows="runs"))) == 2 * number
    began = time.process_time()
    assert cmp.to_html().count('<details class="vnb-case-line"') == number  # too long to parse here
    assert time.process_time() - began < 6  # 14 s, where each case looked at each run
    assert cmp.to_markdown().count("**Case ") == number
    assert cmp.to_junit().count("<testcase ") == number + 1


def test_an_export_that_fails_leaves_the_old_file(tmp_path):
    cmp = judged({"v1": ["yes"], "v2": ["no"]})
    folder = tmp_path / "report.csv"
    folder.mkdir()
    with pytest.raises(HistoryError, match="cannot be written"):
        cmp.to_csv(folder)
    with pytest.raises(HistoryError, match="cannot be written"):
        cmp.to_html(tmp_path / "nowhere" / "report.html")
    with pytest.raises(InputError, match="rows must be 'cases' or 'runs', not the text 'releases'"):
        cmp.to_csv(tmp_path / "a.csv", rows="releases")
    assert [each.name for each in tmp_path.iterdir()] == ["report.csv"]
