"""Bad input for every decoder, in the short form; `python -m contrib.fuzz` runs the full size."""

from __future__ import annotations

import pytest

from contrib.fuzz.decoders import DECODERS
from contrib.fuzz.run import run


@pytest.mark.parametrize("name", DECODERS)
def test_bad_input_breaks_no_decoder(name: str) -> None:
    outcome = run(name, 800, seed=20261120)
    assert outcome.failures == []
    kinds = outcome.metrics["outcomes"]
    assert isinstance(kinds, dict)
    # An input that is refused at once proves nothing about what stands behind.
    assert len(kinds) >= 2
    assert max(kinds.values()) < 800
