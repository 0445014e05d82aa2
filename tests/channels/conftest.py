"""What the tests of several channels' modules share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Callable

import pytest

from loong_channels.egress import Egress
from loong_channels.net import HttpClient


@pytest.fixture
def opened() -> Iterator[Callable[..., HttpClient]]:
    """Makes clients as HttpClient(...) does, and closes them when the test is over."""
    with contextlib.ExitStack() as stack:

        def make(egress: Egress, **options: object) -> HttpClient:
            client = HttpClient(egress, **options)
            stack.callback(client.close)
            return client

        yield make
