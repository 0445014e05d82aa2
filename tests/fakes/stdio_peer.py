"""A program that speaks JSON-RPC on its standard streams, and ways of doing it badly: `python stdio_peer.py MODE`.

Run by path, so that it starts quickly and knows nothing of the product. In every mode it answers what it is asked by
the method's name; the mode says what it does before.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any, Callable

OUT = sys.stdout.buffer


def say(message: object) -> None:
    OUT.write(json.dumps(message).encode() + b"\n")
    OUT.flush()


def raw(data: bytes) -> None:
    OUT.write(data)
    OUT.flush()


def wait_for_ever() -> None:
    while True:
        signal.pause()


def flood(line: bytes) -> None:
    while True:
        raw(line * 100)


def stubborn() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def grandchild() -> None:
    """Leave somebody who holds the pipes, and go."""
    code = "import signal\nwhile True: signal.pause()"
    child = subprocess.Popen([sys.executable, "-c", code])
    say({"jsonrpc": "2.0", "method": "grandchild", "params": child.pid})
    sys.exit(0)


def ask_back(count: int) -> None:
    for number in range(count):
        say({"jsonrpc": "2.0", "id": f"mine-{number}", "method": "back", "params": {"number": number}})


def last_words(code: int) -> None:
    sys.stderr.write("first line\n\x1b[31mcannot go on: no such table\n")
    sys.stderr.flush()
    os._exit(code)


def flood_stderr(lines: int = 2000) -> None:
    for _ in range(lines):
        sys.stderr.write("x" * 1000 + "\n")


def mid_line() -> None:
    raw(b'{"jsonrpc":"2.0","id":1,"res')
    os._exit(0)


def close(descriptor: int) -> None:
    os.close(descriptor)
    wait_for_ever()


MODES: dict[str, Callable[[], None]] = {
    "plain": lambda: None,
    "hang": wait_for_ever,
    "exit": lambda: last_words(3),
    "flood_stdout": lambda: flood(b'{"jsonrpc":"2.0","method":"more"}\n'),
    "flood_stderr": flood_stderr,
    "noise": lambda: raw(b"starting up\n\xff\xfe\n[]\n\n"),
    "only_noise": lambda: flood(b"starting up\n"),
    "long_line": lambda: raw(b'"' + b"x" * (5 << 20) + b'"\n'),
    "blank_lines": lambda: flood(b"\n"),
    "endless_stderr": lambda: flood_stderr(sys.maxsize),
    "mid_line": mid_line,
    "close_output": lambda: close(1),
    "close_input": lambda: close(0),
    "stubborn": stubborn,
    "grandchild": grandchild,
    "ask_back": lambda: ask_back(50),
    "same_id": lambda: flood(b'{"jsonrpc":"2.0","method":"back","id":"7"}\n'),
}


def answer(message: dict[str, Any], answers: list[dict[str, Any]]) -> None:
    if "method" not in message:
        answers.append(message)
        return
    method, number, params = message["method"], message.get("id"), message.get("params")
    if number is None:
        say({"jsonrpc": "2.0", "method": "heard", "params": message})
    elif method == "echo":
        say({"jsonrpc": "2.0", "id": number, "result": params})
    elif method == "twice":
        say({"jsonrpc": "2.0", "id": number, "result": 1})
        say({"jsonrpc": "2.0", "id": number, "result": 2})
    elif method == "for_ever":
        flood(json.dumps({"jsonrpc": "2.0", "id": number, "result": 0}).encode() + b"\n")
    elif method == "count_then_answer":
        for one in range(params):
            say({"jsonrpc": "2.0", "method": "counted", "params": one})
        say({"jsonrpc": "2.0", "id": number, "result": "counted"})
    elif method == "unknown_id":
        say({"jsonrpc": "2.0", "id": 999_999, "result": 1})
        say({"jsonrpc": "2.0", "id": number, "result": "said"})
    elif method == "broken":
        say({"jsonrpc": "2.0", "id": number, "result": 1, "error": {"code": 1, "message": "both"}})
    elif method == "refuse":
        say({"jsonrpc": "2.0", "id": number, "error": {"code": -32000, "message": "no\nsuch thing"}})
    elif method == "answers":
        say({"jsonrpc": "2.0", "id": number, "result": answers})
    elif method == "environ":
        descriptors = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
        say({"jsonrpc": "2.0", "id": number, "result": [dict(os.environ), len(descriptors)]})
    elif method == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif method != "silence":
        say({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "no such method"}})


def main() -> None:
    mode = sys.argv[1]
    MODES[mode]()
    answers: list[dict[str, Any]] = []
    for line in sys.stdin.buffer:
        answer(json.loads(line), answers)
    if mode == "stubborn":
        wait_for_ever()


if __name__ == "__main__":
    main()
