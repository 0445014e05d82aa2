"""A gateway between the doubles of a channel and of a model."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

from tests.e2e.gateway import Gateway, config_for
from tests.fakes.model import FakeModel
from tests.fakes.telegram import FakeTelegram


@contextlib.contextmanager
def staged(directory: pathlib.Path, **config: object) -> Iterator[tuple[Gateway, FakeTelegram, FakeModel]]:
    """The three of them, the gateway not started yet; `config` is of `config_for`."""
    with (
        FakeTelegram() as telegram,
        FakeModel() as model,
        Gateway(directory, config_for(telegram, model, **config)) as gateway,
    ):
        yield gateway, telegram, model
