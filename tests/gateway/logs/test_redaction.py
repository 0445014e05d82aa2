"""Secrets and what is left of them: nothing, in any of the forms they travel in."""

from __future__ import annotations

import base64
import json
import urllib.parse

import pytest

from loong_gateway.logs.redaction import MAX_SECRETS, Redactor

SECRETS = [
    "hunter2-hunter2",
    'quote"back\\slash',
    "with/slash+plus=equals",
    "p\u00e4ssw\u00f6rter",
    "a b c d e f",
    "sk-" + "A1b2C3" * 20,
    "new\nline-secret",
]


def redactor(*secrets: str) -> Redactor:
    made = Redactor()
    for secret in secrets:
        assert made.register(secret)
    return made


@pytest.mark.parametrize("secret", SECRETS)
def test_every_form_of_a_secret_is_masked(secret: str) -> None:
    scrub = redactor(secret).scrub
    data = secret.encode()
    forms = [
        secret,
        f"prefix{secret}suffix",
        urllib.parse.quote(secret),
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        json.dumps({"key": secret}),
        json.dumps({"key": secret}, ensure_ascii=False),
        repr([secret]),
        base64.b64encode(data).decode(),
        base64.urlsafe_b64encode(data).decode(),
    ]
    for form in forms:
        clean = scrub(f"before {form} after")
        assert "***" in clean, form
        assert clean.startswith("before ")
        assert clean.endswith(" after")
        assert secret not in clean
        assert json.dumps(secret)[1:-1] not in clean


@pytest.mark.parametrize("user", ["", "a", "ab", "abc", "operator"])
def test_a_secret_inside_longer_base64_is_masked(user: str) -> None:
    secret = "correct-horse-battery"
    header = base64.b64encode(f"{user}:{secret}".encode()).decode()
    clean = redactor(secret).scrub(header)
    assert "***" in clean
    left = clean.split("***")
    assert sum(map(len, left)) <= len(header) - len(secret)


def test_percent_escapes_are_found_in_either_case() -> None:
    clean = redactor("with/slash+plus").scrub("x=with%2fslash%2bplus&y=with%2Fslash%2Bplus")
    assert clean == "x=***&y=***"


def test_short_values_are_not_hidden() -> None:
    made = Redactor()
    assert not made.register("12345")
    assert not made.register("")
    assert made.scrub("12345") == "12345"


def test_the_longer_of_two_secrets_leaves_no_tail() -> None:
    assert redactor("secret-one", "secret-one-and-more").scrub("secret-one-and-more") == "***"


def test_case_matters_and_ordinary_words_stay() -> None:
    assert redactor("AbCdEfGh").scrub("abcdefgh ABCDEFGH") == "abcdefgh ABCDEFGH"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("GET /bot123456:AAH-abc_DEF/getMe", "GET /bot123456:***/getMe"),
        ("https://api.example/file/bot123456:AAH/x", "https://api.example/file/bot123456:***/x"),
        ("/bot123456%3AAAHabc/getMe", "/bot123456%3A***/getMe"),
        ("token 123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw ok", "token 123456789:*** ok"),
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer ***"),
        ("proxy http://user:pass@proxy.example:3128", "proxy http://***@proxy.example:3128"),
        ("at 12:30:45 on 2026-11-20", "at 12:30:45 on 2026-11-20"),
        ("http://127.0.0.1:18789/healthz", "http://127.0.0.1:18789/healthz"),
        ("Bearer of news", "Bearer of news"),
    ],
)
def test_what_is_secret_by_its_shape_needs_no_registration(text: str, clean: str) -> None:
    assert Redactor().scrub(text) == clean


def test_the_table_of_secrets_is_bounded_and_keeps_the_newest() -> None:
    made = Redactor()
    for number in range(MAX_SECRETS + 1):
        made._forms[f"filler-{number}"] = (f"filler-{number}",)
    made.register("the-newest-secret")
    assert len(made._forms) <= MAX_SECRETS + 1
    assert made.scrub("the-newest-secret") == "***"


@pytest.mark.parametrize(
    "text", ["a." * 50_000, "http://" * 20_000, "x://a:" * 20_000, "1" * 100_000, "Bearer " * 20_000]
)
def test_hostile_text_costs_no_more_than_its_length(text: str) -> None:
    assert isinstance(redactor("some-secret").scrub(text), str)
