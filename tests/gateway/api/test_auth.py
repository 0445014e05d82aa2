"""Credentials, the lockout of those who guess, and the operator's way past it."""

from __future__ import annotations

import logging
import threading

import pytest

from loong_channels.waiting import StopToken
from loong_gateway.api.auth import MAX_DELAYED, MAX_PEERS, Auth, bearer
from loong_gateway.api.peers import peer_of
from tests.waiting import wait_until

SECRET = "pass-word-0001"
CONTROL = "control-token-0001"
LOCAL = peer_of("127.0.0.1")
REMOTE = peer_of("192.0.2.1")


class HandClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def stopped() -> StopToken:
    """A token that lets no delay wait."""
    token = StopToken()
    token.set()
    return token


def judge(auth: Auth, credential: str, peer: object = REMOTE) -> str:
    return auth.judge(credential.encode(), peer, stop=stopped()).outcome


def new_auth(clock: HandClock | None = None, **options: object) -> Auth:
    return Auth(secret=SECRET, control_token=CONTROL, clock=clock or HandClock(), **options)


def test_the_configured_secret_is_accepted_from_everywhere() -> None:
    auth = new_auth()
    assert judge(auth, SECRET, REMOTE) == "ok"
    assert judge(auth, SECRET, LOCAL) == "ok"


def test_the_control_token_is_accepted_from_loopback_only() -> None:
    auth = new_auth()
    assert judge(auth, CONTROL, LOCAL) == "ok"
    assert judge(auth, CONTROL, peer_of("::1")) == "ok"
    assert judge(auth, CONTROL, REMOTE) == "wrong"


@pytest.mark.parametrize(
    "guess",
    [
        SECRET[:-1],
        SECRET + "x",
        SECRET.upper(),
        CONTROL[:-1],
        "null",
        "undefined",
        "[]",
        "{}",
        "true",
        "*",
        "0",
        "\u00e4" * 10,
        "x" * 100_000,
        SECRET + "\0",
    ],
)
def test_wrong_credentials_are_wrong(guess: str) -> None:
    assert judge(new_auth(), guess) == "wrong"


def test_an_empty_credential_is_missing_and_not_counted() -> None:
    auth = new_auth()
    for _ in range(50):
        assert auth.judge(None, REMOTE, stop=stopped()).outcome == "missing"
        assert auth.judge(b"", REMOTE, stop=stopped()).outcome == "missing"
    assert auth.failures == 0
    assert judge(auth, SECRET) == "ok"


def test_without_a_configured_secret_only_the_control_token_opens() -> None:
    auth = Auth(secret=None, control_token=CONTROL)
    assert judge(auth, CONTROL, LOCAL) == "ok"
    for guess in ("", "None", CONTROL):
        assert judge(auth, guess, REMOTE) in ("wrong", "missing")


def test_a_secret_beyond_ascii_is_compared_by_its_bytes() -> None:
    auth = Auth(secret="p\u00e4ssw\u00f6rter", control_token=CONTROL)
    assert judge(auth, "p\u00e4ssw\u00f6rter") == "ok"


def test_ten_failures_lock_a_peer_out_even_with_the_right_secret() -> None:
    clock = HandClock()
    auth = new_auth(clock)
    assert [judge(auth, "wrong!") for _ in range(10)] == ["wrong"] * 10
    verdict = auth.judge(SECRET.encode(), REMOTE, stop=stopped())
    assert (verdict.outcome, verdict.retry_after_s) == ("locked", 300.0)
    clock.now += 299
    assert judge(auth, SECRET) == "locked"
    clock.now += 2
    assert judge(auth, SECRET) == "ok"


def test_a_lockout_touches_nobody_else() -> None:
    auth = new_auth()
    for _ in range(20):
        judge(auth, "wrong!")
    assert judge(auth, SECRET) == "locked"
    assert judge(auth, SECRET, peer_of("192.0.2.2")) == "ok"
    assert judge(auth, SECRET, LOCAL) == "ok"


def test_failures_outside_the_window_do_not_count() -> None:
    clock = HandClock()
    auth = new_auth(clock)
    for _ in range(30):
        assert judge(auth, "wrong!") == "wrong"
        clock.now += 7
    assert judge(auth, SECRET) == "ok"


def test_success_forgives_a_remote_peer() -> None:
    auth = new_auth()
    for _ in range(5):
        assert [judge(auth, "wrong!") for _ in range(9)] == ["wrong"] * 9
        assert judge(auth, SECRET) == "ok"


def test_parallel_guesses_do_not_outrun_the_lock() -> None:
    auth = new_auth()
    outcomes: list[str] = []
    start = threading.Barrier(16)

    def guess() -> None:
        start.wait()
        outcomes.extend(judge(auth, "wrong!") for _ in range(20))

    threads = [threading.Thread(target=guess) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (outcomes.count("wrong"), outcomes.count("locked")) == (10, 310)


def test_the_table_of_peers_is_bounded() -> None:
    auth = new_auth()
    for number in range(MAX_PEERS + 500):
        judge(auth, "wrong!", peer_of(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"))
    assert len(auth._records) == MAX_PEERS


def test_local_guesses_become_slow_but_never_lock_the_operator_out() -> None:
    auth = new_auth()
    assert [judge(auth, "wrong!", LOCAL) for _ in range(10)] == ["wrong"] * 10
    delays = [auth.judge(b"wrong!", LOCAL, stop=stopped()).retry_after_s for _ in range(7)]
    assert delays == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert judge(auth, SECRET, LOCAL) == "ok"
    assert judge(auth, CONTROL, LOCAL) == "ok"
    # A right answer does not make the next guesses fast again.
    assert auth.judge(b"wrong!", LOCAL, stop=stopped()).retry_after_s == 5.0


def test_delays_hold_a_bounded_number_of_threads() -> None:
    auth = new_auth()
    for _ in range(16):
        judge(auth, "wrong!", LOCAL)
    stop = StopToken()
    verdicts: list[str] = []

    def guess() -> None:
        verdicts.append(auth.judge(b"wrong!", LOCAL, stop=stop).outcome)

    threads = [threading.Thread(target=guess) for _ in range(MAX_DELAYED)]
    for thread in threads:
        thread.start()
    wait_until(lambda: auth._delayed == MAX_DELAYED)
    # All places are taken: nothing is looked at any more, except the token that cannot be guessed.
    assert auth.judge(b"wrong!", LOCAL, stop=stop).outcome == "locked"
    assert auth.judge(SECRET.encode(), LOCAL, stop=stop).outcome == "locked"
    assert auth.judge(CONTROL.encode(), LOCAL, stop=stop).outcome == "ok"
    stop.set()
    for thread in threads:
        thread.join(10)
    assert verdicts == ["locked"] * MAX_DELAYED
    assert judge(auth, SECRET, LOCAL) == "ok"


def test_without_the_exemption_loopback_is_locked_out_too_save_for_the_control_token() -> None:
    auth = new_auth(exempt_loopback=False)
    for _ in range(10):
        judge(auth, "wrong!", LOCAL)
    assert judge(auth, SECRET, LOCAL) == "locked"
    assert judge(auth, CONTROL, LOCAL) == "ok"


def test_brute_force_never_succeeds_by_number() -> None:
    clock = HandClock()
    auth = new_auth(clock)
    outcomes = set()
    for number in range(5000):
        outcomes.add(judge(auth, f"guess-{number}"))
        clock.now += 0.1
    assert outcomes == {"wrong", "locked"}
    assert auth.failures <= 20


@pytest.mark.parametrize(
    ("field", "credential"),
    [
        ("Bearer abc", b"abc"),
        ("bearer abc", b"abc"),
        ("BEARER   abc", b"abc"),
        ("Bearer \xe4", b"\xe4"),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearer a b", None),
        ("Bearer a,b", b"a,b"),
        ("Bearerabc", None),
        ("Basic abc", None),
        ("abc", None),
        ("", None),
        (None, None),
        ("Bearer abc\t", None),
        ("Bearer\tabc", None),
    ],
)
def test_the_credential_is_read_from_the_field(field: str | None, credential: bytes | None) -> None:
    assert bearer(field) == credential


def test_guesses_are_warned_of_once_a_minute_and_peer(caplog: pytest.LogCaptureFixture) -> None:
    clock = HandClock()
    auth = new_auth(clock)
    with caplog.at_level(logging.WARNING, "loong.port"):
        for _ in range(3):
            assert judge(auth, "wrong-guess", REMOTE) == "wrong"
        assert judge(auth, "wrong-guess", LOCAL) == "wrong"
        clock.now += 60
        assert judge(auth, "wrong-guess", REMOTE) == "wrong"
    addresses = [record.getMessage().partition(";")[0] for record in caplog.records]
    said = [f"a wrong credential came from {address}" for address in ("192.0.2.1", "127.0.0.1", "192.0.2.1")]
    assert addresses == said
    assert "wrong-guess" not in caplog.text
