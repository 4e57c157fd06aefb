"""Values that a file can confuse, and an exact comparison of tables."""

from math import isnan

import pandas as pd
from hypothesis import strategies as st

TRICKY = ["", "NaN", "None", "null", "1", "1.0", "True", "=1+1", "+x", "-1", "@a", "\tx", "\rx"]
TRICKY += ["'", "''", "'=1", "'a", '"', '""', 'a"b', "a,b", "a\nb", "a\r\nb", "\n", "é", "😀"]
TRICKY += ["\uff1d1", "'\uff1d1", "\uff20", "a.b", "input.a", "output.a", "id", "state"]
TRICKY += ["\x00", "\ufeff", "\u2028", "2026-07-01", "inf", "0x1", "1_000", " "]

ENCODABLE_TEXTS = st.sampled_from(TRICKY) | st.text(st.characters(codec="utf-8"), max_size=12)
TEXTS = ENCODABLE_TEXTS | st.just("\ud83d")
NUMBERS = st.integers() | st.integers(-(2**70), 2**70) | st.floats()
SCALARS = TEXTS | NUMBERS | st.booleans() | st.none()
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(TEXTS, SCALARS, max_size=3)


def assert_equal(read, written):
    pd.testing.assert_frame_equal(read, written, check_exact=True)  # takes 1, 1.0, True for equal
    exactly = [
        [
            [_is_missing_in_pandas_2(v) or (type(v), repr(v)) for v in frame[name].tolist()]
            for name in frame
        ]
        for frame in (read, written)
    ]
    assert exactly[0] == exactly[1]


def _is_missing_in_pandas_2(cell):
    """Return whether it is missing, where pandas has None and NaN for that in one column."""
    return pd.__version__ < "3" and (cell is None or (isinstance(cell, float) and isnan(cell)))
