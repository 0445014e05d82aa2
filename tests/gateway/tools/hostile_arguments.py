"""Arguments that want to get at what no tool may touch, made from a seed."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Iterator

ALLOWED_ORIGIN = "http://api.test:8080"
ALLOWED_TARGET = "telegram:bot_110201543:1001"
OWN_SESSION = "agent:main:a"
GOOD: dict[str, dict[str, object]] = {
    "web.fetch": {"url": "http://site.test/"},
    "http.request": {"url": f"{ALLOWED_ORIGIN}/"},
    "file.read": {"path": "dir/a.txt"},
    "file.list": {"path": "dir"},
    "file.write": {"path": "dir/new.txt", "text": "x"},
    "shell.run": {"program": "printf", "args": ["x"]},
    "channels.send": {"target": ALLOWED_TARGET, "text": "x"},
    "session_status": {"sessionKey": OWN_SESSION},
    "sessions_list": {"search": ""},
    "sessions_history": {"sessionKey": OWN_SESSION},
}
# How often each is tried: (of a hundred, its maker).
_SPECIAL = (
    "127.0.0.0/8 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 169.254.0.0/16 100.64.0.0/10 0.0.0.0/8 192.0.0.0/24 "
    "192.0.2.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 169.254.169.254/32 "
    "127.0.0.1/32 255.255.255.255/32 168.63.129.16/32 100.100.100.200/32"
).split()
_SPECIAL_6 = (
    "::1/128 ::/128 fc00::/7 fe80::/10 fec0::/10 ff00::/8 2001:db8::/32 2001::/32 fd00:ec2::254/128".split()
)
_NAMES = (
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    "localhost.localdomain",
    "inside.test",
    "meta.test",
)
_TRAPS = ("out", "root", "chain", "loop", "hard", "home", "pipe", "self", "file", "dir", "a.txt", "missing")


def special_address(rnd: random.Random) -> ipaddress.IPv4Address:
    """One that no tool may reach."""
    net = ipaddress.ip_network(rnd.choice(_SPECIAL))
    return ipaddress.IPv4Address(int(net[0]) + rnd.randrange(net.num_addresses))


def hostile_host(rnd: random.Random) -> str:
    """Such an address in one of its many spellings, or a name that leads to one."""
    address = special_address(rnd)
    number, parts = int(address), str(address).split(".")
    v6 = ipaddress.IPv6Address
    spellings: list[Callable[[], str]] = [
        lambda: str(address),
        lambda: f"{address}.",
        lambda: str(number),
        lambda: hex(number),
        lambda: f"0{number:o}",
        lambda: ".".join(hex(int(part)) for part in parts),
        lambda: ".".join(f"0{int(part):o}" for part in parts),
        lambda: ".".join(part.zfill(3) for part in parts),
        lambda: f"{parts[0]}.{number & 0xFFFFFF}",
        lambda: f"{parts[0]}.{parts[1]}.{number & 0xFFFF}",
        lambda: f"[::ffff:{address}]",
        lambda: f"[{v6(0xFFFF00000000 | number)}]",
        lambda: f"[::{address}]",
        lambda: f"[::ffff:0:{address}]",
        lambda: f"[{v6((0x64FF9B << 96) | number)}]",
        lambda: f"[{v6((0x2002 << 112) | (number << 80))}]",
        lambda: f"[{_special_6(rnd)}]",
        lambda: f"[{_special_6(rnd)}%25lo]",
        lambda: f"[0:0:0:0:0:ffff:{number >> 16:x}:{number & 0xFFFF:x}]",
        lambda: "".join(chr(0xFF10 + int(c)) if c.isdigit() else "\uff0e" for c in str(address)),
        lambda: str(address).replace(".", "\u3002"),
        lambda: str(address).replace(".", "%2e"),
        lambda: f"{address}%00.site.test",
        lambda: rnd.choice(_NAMES),
        lambda: f"rebinding-{number % 97}.test",
    ]
    return rnd.choice(spellings)()


def hostile_url(rnd: random.Random) -> str:
    """A URL that leads, or may be read to lead, to such a host."""
    host = hostile_host(rnd)
    forms: list[Callable[[], str]] = [
        lambda: f"http://{host}/",
        lambda: f"https://{host}/x?y#z",
        lambda: f"http://{host}:{rnd.choice((80, 22, 18789, 6379, 0, 65536))}/latest/meta-data/",
        lambda: f"http://site.test@{host}/",
        lambda: f"http://{host}#@site.test/",
        lambda: f"http://{host}?@site.test/",
        lambda: f"http://{host}\\@site.test/",
        lambda: f"http://site.test\\@{host}/",
        lambda: f"http:\\\\{host}/",
        lambda: f"http:///{host}/",
        lambda: f"//{host}/",
        lambda: f"http:{host}/",
        lambda: f" http://{host}/",
        lambda: f"ht\ttp://{host}/",
        lambda: f"http://{host}\r\nHost: site.test/",
        lambda: f"http://site.test:80@{host}:80/",
        lambda: f"HTTP://{host.upper()}/",
        lambda: (
            f"{rnd.choice(('file', 'gopher', 'ftp', 'dict', 'ldap', 'unix', 'data', 'jar:http'))}://{host}/"
        ),
        lambda: f"{ALLOWED_ORIGIN}@{host}/",
        lambda: f"{ALLOWED_ORIGIN}.{host}/",
        lambda: f"http://api.test:8080\\.{host}/",
        lambda: f"http://api.test.:8080@{host}/",
    ]
    return rnd.choice(forms)()


def hostile_path(rnd: random.Random, outside: str) -> str:
    """A path that leads, or may be read to lead, out of the root or into what is closed in it."""
    deep = "../" * rnd.choice((1, 1, 2, 3, 12))
    forms: list[Callable[[], str]] = [
        lambda: f"{deep}etc/passwd",
        lambda: f"{deep}outside/canary",
        lambda: f"{outside}/canary",
        lambda: f"/{outside}/canary",
        lambda: f"{rnd.choice(_TRAPS)}/{rnd.choice((*_TRAPS, 'canary', 'config.toml'))}",
        lambda: f"{rnd.choice(_TRAPS)}/{deep}{rnd.choice(_TRAPS)}",
        lambda: rnd.choice(_TRAPS),
        lambda: f"dir/{deep}outside/canary",
        lambda: f"root{outside}/canary",
        lambda: f"self/root{outside}/canary",
        lambda: f"dir/../home/{rnd.choice(('config.toml', 'canary', ''))}",
        lambda: f"a.txt\0{outside}/canary",
        lambda: f"..\\..\\outside\\canary{rnd.randrange(9)}",
        lambda: f"%2e%2e/%2e%2e{outside}/canary",
        lambda: f"\uff0e\uff0e/{rnd.choice(_TRAPS)}",
        lambda: f"..\u2215..\u2215{rnd.choice(_TRAPS)}",
        lambda: f".\u200b./{deep}canary",
        lambda: f"~/{outside}/canary",
        lambda: f"file://{outside}/canary",
        lambda: "out/./canary",
        lambda: "".join(chr(rnd.choice((0, 9, 10, 46, 47, 92, 126, 0x202E, 0xD800, 97))) for _ in range(12)),
        lambda: "a/" * rnd.randrange(1, 600) + "b",
        lambda: "x" * rnd.randrange(200, 2000),
        lambda: "/dev/stdin",
        lambda: f"/proc/self/{rnd.choice(('environ', 'mem', 'fd/0', 'cwd/x'))}",
    ]
    return rnd.choice(forms)()


def _special_6(rnd: random.Random) -> ipaddress.IPv6Address:
    net = ipaddress.ip_network(rnd.choice(_SPECIAL_6))
    return ipaddress.IPv6Address(int(net[0]) + rnd.randrange(net.num_addresses))


def _words(rnd: random.Random, outside: str) -> dict[str, object]:
    touch = f"touch {outside}/new"
    program = rnd.choice(
        (
            f"{outside}/program",
            "sh",
            "/bin/sh",
            f"printf;{touch}",
            f"printf\n{touch}",
            "printf\0sh",
            f"../..{outside}/program",
            "dir/../printf",
            "./printf",
            "PRINTF",
            "pri*",
            "$(printf)",
            "",
        )
    )
    words = [
        f";{touch}",
        f"$({touch})",
        f"`{touch}`",
        f"|{outside}/program",
        "-v",
        f">{outside}/new",
        "%n%s%d",
        "\0",
    ]
    chosen = rnd.sample(words, rnd.randrange(4))
    return {"program": "printf" if rnd.random() < 0.15 else program, "args": chosen}


def _target(rnd: random.Random) -> str:
    channel, account, target = ALLOWED_TARGET.split(":")
    return rnd.choice(
        (
            f"{channel}:{account}:{rnd.randrange(10_000, 99_999)}",
            f"{channel}:{account}:{target} ",
            f"{channel}:{account}:{target}\n",
            f"{channel}:{account}:{target}:7",
            f"{channel}::{target}",
            f"wecom:{account}:{target}",
            f"{channel.upper()}:{account}:{target}",
            f"{channel}:{account}:@name",
            f"{channel}:{account}:*",
            target,
            "*",
            ":" * rnd.randrange(5),
        )
    )


def _session(rnd: random.Random) -> str:
    return rnd.choice(
        (
            "b",
            "agent:main:b",
            "AGENT:MAIN:B",
            "agent:other:a",
            f"{OWN_SESSION}:",
            f"{OWN_SESSION}:c",
            "main",
            "%",
            "*",
            "' or 1=1 --",
            "../b",
            "\0",
            "",
        )
    )


def calls(seed: int, count: int, outside: str) -> Iterator[tuple[str, dict[str, object], str]]:
    """(tool, arguments, where the public site shall redirect this call to, "" if nowhere)."""
    rnd = random.Random(seed)
    for number in range(count):
        kind = rnd.randrange(100)
        away = ""
        if number % 100 == 0:
            tool = rnd.choice(sorted(GOOD))
            given = dict(GOOD[tool])
        elif kind < 45:
            tool, given = "web.fetch", {"url": hostile_url(rnd)}
        elif kind < 50:
            # Back to where it came from, whose name leads elsewhere by then.
            away = hostile_url(rnd) if rnd.random() < 0.7 else "/away"
            tool, given = "web.fetch", {"url": f"http://{rnd.choice(('site.test', 'rebinding-0.test'))}/away"}
        elif kind < 63:
            tool, given = (
                "http.request",
                {"url": hostile_url(rnd), "method": rnd.choice(("GET", "POST", "TRACE"))},
            )
            if rnd.random() < 0.1:
                away = given["url"]
                given = {"url": f"{ALLOWED_ORIGIN}/away", "accept": rnd.choice(("*/*", "a\r\nHost: b", "\0"))}
        elif kind < 88:
            tool = rnd.choice(("file.read", "file.list", "file.write"))
            given = {"path": hostile_path(rnd, outside)}
            if tool == "file.write":
                given["text"] = "written"
        elif kind < 93:
            tool, given = "shell.run", _words(rnd, outside)
        elif kind < 96:
            tool, given = "channels.send", {"target": _target(rnd), "text": "x"}
        else:
            tool = rnd.choice(("session_status", "sessions_list", "sessions_history"))
            given = {"search" if tool == "sessions_list" else "sessionKey": _session(rnd)}
        yield tool, given, away
