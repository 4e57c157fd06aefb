from __future__ import annotations

import gc
import tracemalloc

from sweep_kit import again_later, answered, planned, swept

MIB = 2**20


def test_a_hundred_thousand_planned_calls_cost_little_memory(history):
    record = planned(history, 50_000, ("v1", "v2"))
    gc.collect()
    tracemalloc.start()
    try:
        sweep = swept(history, record, answered, max_calls=2_000, concurrency=128).run()
        assert sum(tag.to_go for tag in sweep.progress().tags) == 98_000
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
        del sweep
    finally:
        tracemalloc.stop()
    later = again_later(history, swept(history, record, answered), answered, max_calls=2_100)
    assert later.run().progress().done == 2_100
