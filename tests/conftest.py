"""What holds for every test."""

from __future__ import annotations

import gc
import signal

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts background jobs with Ctrl-C ignored, and every process that a test starts would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # What `-n` means by itself deals out sixteenths of the suite, and one of them holds most of the tests that start
    # processes: its worker would be alone for the second half of the run.
    if getattr(config.option, "dist", None) == "load":
        config.option.dist = "worksteal"


def pytest_collection_finish() -> None:
    # The thousands of collected items live until the end; no later collection need walk over them.
    gc.collect()
    gc.freeze()
