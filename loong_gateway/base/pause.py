"""A wait for commands that look again and again at what nobody announces: another process. Plain, like `clock`."""

import select

__all__ = ["pause"]


def pause(seconds: float) -> None:
    """Let the other process get on. Blocks."""
    select.select([], [], [], seconds)
