"""Calls of the open platform: answers as faults, the tenant token, the endpoint, the bot."""

from __future__ import annotations

import datetime
import email.utils
import json
import threading
from typing import Any

import pytest

from loong_channels import faults
from loong_channels.feishu.answers import TokenRefused, interpret
from loong_channels.feishu.api import BASE_URLS, Api, path_of
from loong_channels.feishu.tokens import TokenCache
from loong_channels.net import Egress, HttpAnswer, HttpClient
from loong_channels.waiting import Deadline, StopToken
from tests.channels.feishu_sending_rig import Clock, make_api
from tests.fakes.feishu import APP_SECRET, FakeFeishu

BOT = path_of("bot", "v3", "info")


@pytest.fixture
def fake():
    with FakeFeishu() as server:
        yield server
        assert server.complaints == []
        assert server.server.crashes == []


def answer(status: int, body: object, headers: dict[str, str] | None = None) -> HttpAnswer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpAnswer(status, headers or {}, data)


def fault_of(status: int, body: object, headers: dict[str, str] | None = None, **how: Any) -> faults.Fault:
    with pytest.raises(faults.Fault) as caught:
        interpret("send", answer(status, body, headers), **how)
    return caught.value


# --- answers


def test_code_zero_is_the_only_success_whatever_the_status() -> None:
    assert interpret("send", answer(200, {"code": 0, "data": {"a": 1}}))["data"] == {"a": 1}
    assert interpret("send", answer(400, {"code": 0}))["code"] == 0
    assert isinstance(fault_of(200, {"code": 230002, "msg": "no"}), faults.Refused)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b"<html>",
        b'{"code":',
        b"\xff\xfe",
        b"{}",
        b'{"code":"0"}',
        b'{"code":true}',
    ],
)
def test_an_answer_that_is_none_of_the_platform_is_a_bad_answer(body: bytes) -> None:
    assert type(fault_of(200, body)) is faults.BadAnswer


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_page_of_something_in_front_leaves_open_what_happened(status: int) -> None:
    fault = fault_of(status, b"<html>Bad Gateway</html>")
    assert isinstance(fault, faults.Unreachable)
    assert fault.maybe_processed


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        *((400, code, TokenRefused) for code in (99991663, 99991664, 99991665, 99991666, 99991668, 99991671)),
        *((400, code, faults.BadCredentials) for code in (10003, 10014, 99991543, 99991662, 99991673)),
        *((400, code, faults.Throttled) for code in (99991400, 230020)),
        (429, 4242, faults.Throttled),
        *((400, code, faults.Overloaded) for code in (2200, 11232, 11233, 11247, 1771001, 1771005)),
        (500, 4242, faults.Overloaded),
        (400, 230049, faults.Unreachable),
        *((400, code, faults.Refused) for code in (99991661, 99991672, 99991676, 99991679, 99991403, 9499)),
        *((400, code, faults.Refused) for code in (230001, 230002, 230011, 230025, 230027, 230099, 99992402)),
        (200, 1, faults.Refused),
    ],
)
def test_codes_become_faults(status: int, code: int, expected: type[faults.Fault]) -> None:
    fault = fault_of(status, {"code": code, "msg": "words"})
    assert type(fault) is expected
    assert str(code) in str(fault)
    if isinstance(fault, faults.Refused):
        assert fault.code == str(code)


@pytest.mark.parametrize(
    ("code", "headers", "seconds", "whole_account"),
    [
        (99991400, {"x-ogw-ratelimit-reset": "7", "retry-after": "9"}, 7, True),
        (99991400, {"retry-after": "9"}, 9, True),
        (99991400, {"x-ogw-ratelimit-reset": "soon"}, 5, True),
        (99991400, {"x-ogw-ratelimit-reset": "0"}, 1, True),
        (99991400, {"x-ogw-ratelimit-reset": "2.5"}, 2.5, True),
        (99991400, {"retry-after": "86400"}, 60, True),
        (99991400, {"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 1, True),
        (99991400, {}, 5, True),
        (230020, {}, 1, False),
        (230020, {"x-ogw-ratelimit-reset": "4"}, 4, False),
    ],
)
def test_a_wait_is_taken_from_the_headers_and_bounded(
    code: int, headers: dict[str, str], seconds: float, whole_account: bool
) -> None:
    fault = fault_of(400, {"code": code, "msg": "slow down"}, headers)
    assert isinstance(fault, faults.Throttled)
    assert (fault.retry_after_s, fault.whole_account) == (seconds, whole_account)


def test_a_platform_that_fails_may_say_when_to_come_back() -> None:
    body = {"code": 2200, "msg": "internal"}
    for headers, seconds in (({"retry-after": "7"}, 7.0), ({}, None)):
        fault = fault_of(500, body, headers)
        assert isinstance(fault, faults.Overloaded)
        assert fault.retry_after_s == seconds


def test_a_wait_may_be_a_date() -> None:
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=31)
    fault = fault_of(429, b"slow down", {"retry-after": email.utils.format_datetime(later, usegmt=True)})
    assert isinstance(fault, faults.Throttled)
    assert 25 < fault.retry_after_s <= 31


def test_the_log_id_is_told_from_the_header_or_the_body() -> None:
    body = {"code": 230002, "msg": "no", "error": {"log_id": "inside"}}
    assert "(log id 20260101ABC)" in str(fault_of(400, body, {"x-tt-logid": "20260101ABC"}))
    assert "(log id inside)" in str(fault_of(400, body))
    assert "log id" not in str(fault_of(400, body, {"x-tt-logid": "a b\nc"}))


def test_violations_name_fields_and_never_values() -> None:
    violations = [{"field": "uuid", "value": "what was said", "description": "the max len is 50"}]
    body = {"code": 99992402, "msg": "field validation failed", "error": {"field_violations": violations}}
    said = str(fault_of(400, body))
    assert "[uuid: the max len is 50]" in said
    assert "what was said" not in said


@pytest.mark.parametrize(
    ("code", "msg"),
    [
        (230099, "Failed to create card content, ext=ErrCode: 200570; ErrMsg: x; ErrorValue: the message; "),
        (230022, "Contains sensitive words: the message"),
        (230028, "DLP: the message"),
        (230001, 'ext=invalid content: {"text":"the message"}'),
        (230001, "ext=invalid content: “the message”"),
    ],
)
def test_no_refusal_quotes_the_message(code: int, msg: str) -> None:
    said = str(fault_of(400, {"code": code, "msg": msg}))
    assert "the message" not in said.replace("the message holds", "").replace("the message was refused", "")
    if code == 230099:
        assert "200570" in said


def test_no_message_holds_a_secret_line_breaks_or_endless_text() -> None:
    msg = f"a\nb {APP_SECRET} Bearer t-g104abcdefghijk " + "y" * 999
    said = str(fault_of(400, {"code": 230001, "msg": msg}, hide=(APP_SECRET,)))
    assert APP_SECRET not in said
    assert "g104" not in said
    assert "\n" not in said
    assert len(said) < 300


# --- the token


def test_the_two_platforms_have_their_own_roots() -> None:
    assert BASE_URLS == {"feishu": "https://open.feishu.cn", "lark": "https://open.larksuite.com"}


def test_parts_of_a_path_are_encoded() -> None:
    assert path_of("im", "a/../b", "ü?") == "/open-apis/im/a%2F..%2Fb/%C3%BC%3F"


def test_one_token_serves_many_calls(fake: FakeFeishu) -> None:
    api = make_api(fake)
    for _ in range(3):
        api.call("bot", "GET", BOT, deadline=Deadline(5))
    assert [one.name for one in fake.requests] == ["token", "bot", "bot", "bot"]


def test_a_token_is_renewed_ten_minutes_before_its_end(fake: FakeFeishu) -> None:
    clock = Clock()
    api = make_api(fake, clock)
    api.call("bot", "GET", BOT, deadline=Deadline(5))
    clock.now += 6590
    fake.advance(6590)
    api.call("bot", "GET", BOT, deadline=Deadline(5))
    clock.now += 20
    fake.advance(20)
    api.call("bot", "GET", BOT, deadline=Deadline(5))
    assert [one.name for one in fake.requests] == ["token", "bot", "bot", "token", "bot"]
    assert len(fake.tokens) == 2


def test_a_token_with_little_left_is_used_for_a_minute() -> None:
    clock = Clock()
    values = iter(["t-1", "t-2"])
    cache = TokenCache(lambda deadline, stop: (next(values), 120.0), clock)
    assert cache.get(Deadline(1), None) == "t-1"
    clock.now += 59
    assert cache.get(Deadline(1), None) == "t-1"
    clock.now += 2
    assert cache.get(Deadline(1), None) == "t-2"


def test_a_revoked_token_is_replaced_once_and_the_call_repeated(fake: FakeFeishu) -> None:
    api = make_api(fake)
    api.call("bot", "GET", BOT, deadline=Deadline(5))
    fake.revoke_tokens()
    api.call("bot", "GET", BOT, deadline=Deadline(5))
    assert [one.name for one in fake.requests] == ["token", "bot", "bot", "token", "bot"]


@pytest.mark.parametrize("code", [99991663, 99991664, 99991665, 99991666, 99991668, 99991671])
def test_a_token_that_is_refused_again_is_a_matter_of_credentials(fake: FakeFeishu, code: int) -> None:
    fake.refuse("bot", code, times=None)
    with pytest.raises(faults.BadCredentials):
        make_api(fake).call("bot", "GET", BOT, deadline=Deadline(5))
    assert [one.name for one in fake.requests] == ["token", "bot", "token", "bot"]


@pytest.mark.parametrize("wrong", ["id", "secret"])
def test_wrong_credentials_are_told_at_once_and_without_the_secret(fake: FakeFeishu, wrong: str) -> None:
    secret = "AnotherSecretThatIsWrong"
    if wrong == "id":
        fake.app_id = "cli_other"
        api = Api(HttpClient(Egress()), fake.base_url, "cli_mine", fake.app_secret)
    else:
        api = make_api(fake, secret=secret)
    with pytest.raises(faults.BadCredentials) as caught:
        api.call("bot", "GET", BOT, deadline=Deadline(5))
    assert secret not in str(caught.value)
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("kind", "details"),
    [("html", {}), ("reset", {}), ("null", {}), ("empty", {}), ("truncated", {}), ("lost", {})],
)
def test_a_call_whose_token_could_not_be_had_was_surely_not_made(
    fake: FakeFeishu, kind: str, details: dict[str, object]
) -> None:
    fake.fault("token", kind, times=None, **details)
    with pytest.raises(faults.Unreachable) as caught:
        make_api(fake).call("bot", "GET", BOT, deadline=Deadline(5))
    assert not caught.value.maybe_processed
    assert fake.names() == []


def test_a_good_token_is_used_on_while_no_new_one_can_be_had(fake: FakeFeishu) -> None:
    clock = Clock()
    api = make_api(fake, clock)
    api.call("bot", "GET", BOT, deadline=Deadline(5))
    clock.now += 6700
    fake.advance(6700)
    fake.fault("token", "html", times=None)
    for _ in range(3):
        api.call("bot", "GET", BOT, deadline=Deadline(5))
    assert len(fake.calls("token")) == 2
    clock.now += 600
    with pytest.raises(faults.Unreachable):
        api.call("bot", "GET", BOT, deadline=Deadline(5))


def in_threads(count: int, work: Any) -> list[Any]:
    results: list[Any] = [None] * count

    def run(index: int) -> None:
        try:
            results[index] = work()
        except faults.Fault as fault:
            results[index] = fault

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    return results


def test_many_threads_ask_for_one_token(fake: FakeFeishu) -> None:
    api = make_api(fake)
    order = fake.fault("token", "hold")

    def release() -> None:
        fake.wait_for(lambda: order.hits == 1)
        fake.release()

    releasing = threading.Thread(target=release)
    releasing.start()
    results = in_threads(16, lambda: api.call("bot", "GET", BOT, deadline=Deadline(10))["code"])
    releasing.join(10)
    assert results == [0] * 16
    assert len(fake.calls("token")) == 1


def test_who_waited_for_a_token_hears_of_its_refusal(fake: FakeFeishu) -> None:
    entered = threading.Barrier(8)
    gate = threading.Event()
    asked: list[int] = []

    def fetch(deadline: Deadline, stop: StopToken | None) -> tuple[str, float]:
        asked.append(1)
        gate.wait(10)
        raise faults.BadCredentials("no")

    cache = TokenCache(fetch)

    def get() -> str:
        entered.wait(10)
        return cache.get(Deadline(10), None)

    opener = threading.Timer(0.3, gate.set)
    opener.start()
    results = in_threads(8, get)
    opener.join(5)
    assert all(isinstance(one, faults.BadCredentials) for one in results)
    assert len({id(one) for one in results}) == 8
    # Who came only after the round was over asked for himself.
    assert len(asked) <= 2


def test_who_waits_for_a_token_heeds_deadline_and_stop() -> None:
    gate = threading.Event()
    entered = threading.Event()

    def fetch(deadline: Deadline, stop: StopToken | None) -> tuple[str, float]:
        entered.set()
        gate.wait(10)
        return "t-late", 7200.0

    cache = TokenCache(fetch)
    leader = threading.Thread(target=cache.get, args=(Deadline(10), None))
    leader.start()
    entered.wait(10)
    with pytest.raises(faults.TimedOut) as caught:
        cache.get(Deadline(0.05), None)
    assert not caught.value.maybe_processed
    stop = StopToken()
    stopper = threading.Timer(0.1, stop.set)
    stopper.start()
    with pytest.raises(faults.Interrupted):
        cache.get(Deadline(10), stop)
    gate.set()
    leader.join(10)
    stopper.join(10)
    assert cache.get(Deadline(0), None) == "t-late"


def test_a_fetch_that_breaks_unexpectedly_does_not_block_the_next() -> None:
    answers: list[Any] = [RuntimeError("bug"), ("t-1", 7200.0)]

    def fetch(deadline: Deadline, stop: StopToken | None) -> tuple[str, float]:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    cache = TokenCache(fetch)
    with pytest.raises(RuntimeError):
        cache.get(Deadline(1), None)
    assert cache.get(Deadline(1), None) == "t-1"


def test_only_the_token_that_was_used_is_dropped() -> None:
    values = iter(["t-1", "t-2"])
    cache = TokenCache(lambda deadline, stop: (next(values), 7200.0))
    cache.get(Deadline(1), None)
    cache.drop("t-0")
    assert cache.get(Deadline(1), None) == "t-1"
    cache.drop("t-1")
    assert cache.get(Deadline(1), None) == "t-2"


@pytest.mark.parametrize(
    "body",
    [
        {"code": 0},
        {"code": 0, "tenant_access_token": "", "expire": 7200},
        {"code": 0, "tenant_access_token": "t-a\nb", "expire": 7200},
        {"code": 0, "tenant_access_token": "t-a", "expire": 0},
        {"code": 0, "tenant_access_token": "t-a", "expire": "7200"},
    ],
)
def test_a_token_that_cannot_be_one_is_not_used(fake: FakeFeishu, body: dict[str, object]) -> None:
    fake._do_token = lambda params, call: body  # type: ignore[method-assign]
    with pytest.raises(faults.Unreachable):
        make_api(fake).call("bot", "GET", BOT, deadline=Deadline(5))
    assert fake.names() == []


# --- the bot and the endpoint


def test_the_bot_is_asked_for_once_in_ten_minutes(fake: FakeFeishu) -> None:
    clock = Clock()
    api = make_api(fake, clock)
    assert api.bot(deadline=Deadline(5)).open_id == fake.bot["open_id"]
    clock.now += 599
    assert api.bot(deadline=Deadline(5)).public_name == "loong-bot"
    assert len(fake.calls("bot")) == 1
    clock.now += 2
    api.bot(deadline=Deadline(5))
    assert len(fake.calls("bot")) == 2


def test_a_refusal_of_the_bot_is_kept_for_a_minute_and_trouble_is_not(fake: FakeFeishu) -> None:
    clock = Clock()
    api = make_api(fake, clock)
    fake.refuse("bot", 99991672)
    for _ in range(2):
        with pytest.raises(faults.Refused) as caught:
            api.bot(deadline=Deadline(5))
        assert caught.value.code == "99991672"
    assert len(fake.calls("bot")) == 1
    clock.now += 61
    fake.fault("bot", "html")
    with pytest.raises(faults.Unreachable):
        api.bot(deadline=Deadline(5))
    assert api.bot(deadline=Deadline(5)).name == "loong-bot"


@pytest.mark.parametrize("bot", [None, "x", []])
def test_an_answer_without_a_bot_is_a_bad_answer(fake: FakeFeishu, bot: Any) -> None:
    fake.bot = bot
    with pytest.raises(faults.BadAnswer):
        make_api(fake).bot(deadline=Deadline(5))


def test_the_endpoint_is_asked_for_without_a_token_and_every_time(fake: FakeFeishu) -> None:
    fake.set_endpoint(
        "wss://host/ws/v2?device_id=70&access_key=KEY&service_id=-5&ticket=TICKET", PingInterval=90
    )
    api = make_api(fake)
    for _ in range(2):
        found = api.endpoint(Deadline(5))
    assert (found.service_id, found.ping_interval_s) == (-5, 90)
    assert [one.name for one in fake.requests] == ["endpoint", "endpoint"]
    assert fake.requests[0].headers["locale"] == "zh"
    assert "TICKET" not in repr(found)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (200, 1, faults.Overloaded),
        (200, 1000040343, faults.Overloaded),
        (200, 514, faults.BadCredentials),
        (400, 514, faults.BadCredentials),
        (200, 403, faults.BadCredentials),
        (200, 1000040350, faults.Conflict),
        (200, 424242, faults.BadCredentials),
        (500, 0, faults.Overloaded),
    ],
)
def test_refusals_of_the_endpoint(
    fake: FakeFeishu, status: int, code: int, expected: type[faults.Fault]
) -> None:
    fake.refuse("endpoint", code, f"because {APP_SECRET}", status=status)
    with pytest.raises(faults.Fault) as caught:
        make_api(fake).endpoint(Deadline(5), StopToken())
    assert type(caught.value) is expected
    assert APP_SECRET not in str(caught.value)


@pytest.mark.parametrize("kind", ["html", "reset", "null", "empty", "truncated"])
def test_trouble_on_the_way_to_the_endpoint_is_passing(fake: FakeFeishu, kind: str) -> None:
    fake.fault("endpoint", kind)
    with pytest.raises((faults.Unreachable, faults.BadAnswer)):
        make_api(fake).endpoint(Deadline(5))
    assert make_api(fake).endpoint(Deadline(5)).url


@pytest.mark.parametrize("url", ["", "http://host/", "wss://", "wss://[x", "nonsense"])
def test_an_endpoint_without_a_usable_address_is_passing(fake: FakeFeishu, url: str) -> None:
    fake.set_endpoint(url)
    with pytest.raises(faults.Unreachable):
        make_api(fake).endpoint(Deadline(5))


def test_an_interrupt_ends_what_is_under_way_for_good(fake: FakeFeishu) -> None:
    api = make_api(fake)
    order = fake.fault("bot", "hang")
    ended: list[Any] = []
    waiting = threading.Thread(
        target=lambda: ended.extend(in_threads(1, lambda: api.bot(deadline=Deadline(20))))
    )
    waiting.start()
    fake.wait_for(lambda: order.hits)
    api.interrupt()
    waiting.join(10)
    assert isinstance(ended[0], faults.Interrupted)
    with pytest.raises(faults.Interrupted):
        api.bot(deadline=Deadline(5))
