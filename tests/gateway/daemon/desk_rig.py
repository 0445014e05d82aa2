"""A config desk over a real file."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass

from loong_gateway.config.loading import validate
from loong_gateway.config.snapshot import Config
from loong_gateway.daemon.settings_desk import ConfigDesk

TOKEN = "111111:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"


@dataclass(frozen=True)
class Places:
    config: str

    def command(self, verb: str) -> str:
        return f"loong {verb}"


def desk_of(path: pathlib.Path) -> ConfigDesk:
    """A desk whose gateway runs on the file as it is now."""
    places = Places(str(path))
    applied, _ = validate(places, environ={})
    assert applied is not None
    running: Config = applied
    return ConfigDesk(
        places, applied=lambda: running, environ={}, scrub=lambda text: text.replace(TOKEN, "***")
    )
