"""Feeding one decoder and measuring what it takes."""

from __future__ import annotations

import contextlib
import gc
import random
import time
import tracemalloc
from collections import Counter

from contrib.reliability.report import Outcome

from .decoders import DECODERS

__all__ = ["run"]

# The memory that reading any input may take, and what may stay behind after very many of them.
MAX_PEAK_BYTES = 8 << 20
MAX_GROWTH_BYTES = 1 << 20
SHOWN_BYTES = 200


def run(name: str, count: int, seed: int) -> Outcome:
    """Feed `count` inputs; memory is measured over the second half. Blocks."""
    outcome = Outcome(f"fuzz-{name}", count, seed)
    decoder = DECODERS[name]()
    chance = random.Random(f"{name}-{seed}")
    kinds: Counter[str] = Counter()
    slowest_s = 0.0
    peak_bytes = 0
    begin = time.monotonic()

    def feed(number: int) -> None:
        nonlocal slowest_s, peak_bytes
        for _ in range(number):
            data = decoder.make(chance)
            # What making it took does not count.
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            started = time.perf_counter()
            try:
                kind = decoder.feed(data)
            except Exception as error:  # noqa: BLE001 - this is what is looked for
                kind = f"FOUND {type(error).__name__}"
                outcome.failures.append(f"{error!r:.300} for {data[:SHOWN_BYTES]!r} ({len(data)} bytes)")
            kinds[kind] += 1
            slowest_s = max(slowest_s, time.perf_counter() - started)
            peak_bytes = max(peak_bytes, tracemalloc.get_traced_memory()[1] - before)

    feed(count - count // 2)
    with contextlib.ExitStack() as stack:
        tracemalloc.start()
        stack.callback(tracemalloc.stop)
        feed(count // 4)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        feed(count // 2 - count // 4)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    outcome.duration_s = time.monotonic() - begin
    outcome.metrics = {
        "outcomes": dict(kinds.most_common()),
        "slowest_ms": round(slowest_s * 1000, 1),
        "peak_bytes": peak_bytes,
        "growth_bytes": after - before,
    }
    if peak_bytes > MAX_PEAK_BYTES or after - before > MAX_GROWTH_BYTES:
        outcome.failures.append(f"memory: peak {peak_bytes}, growth {after - before}")
    return outcome
