"""Configs that are read from a text, for the tests of what becomes of them."""

from __future__ import annotations

from loong_gateway.config.diagnostics import as_lines
from loong_gateway.config.loading import validate_source
from loong_gateway.config.snapshot import Config, Diagnostic

PATH = "/home/x/config.toml"


def findings(text: str, environ: dict[str, str] | None = None) -> list[Diagnostic]:
    """What is said about the text."""
    _, found = validate_source(PATH, text.encode(), environ=environ or {})
    return found


def valid(text: str, environ: dict[str, str] | None = None, *, dev: bool = False) -> Config:
    """The config of a text without errors."""
    config, found = validate_source(PATH, text.encode(), environ=environ or {}, dev=dev)
    assert config is not None, as_lines(found, "config.toml")
    return config
