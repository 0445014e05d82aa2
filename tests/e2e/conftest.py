"""What the end-to-end tests share."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.e2e.gateway import Gateway
from tests.e2e.world import staged
from tests.fakes.model import FakeModel
from tests.fakes.telegram import FakeTelegram


@pytest.fixture
def world(tmp_path: pathlib.Path) -> Iterator[tuple[Gateway, FakeTelegram, FakeModel]]:
    """A gateway, not started yet, between a channel and a model."""
    with staged(tmp_path) as parts:
        yield parts
