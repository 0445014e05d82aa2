"""What an operator may ask of a send: checked against the channel's table, and spread over the parts."""

from __future__ import annotations

import pytest

from loong_channels import catalog
from loong_channels.contract import Address, OutboundFile
from loong_gateway.base.faults import CommandError
from loong_gateway.messaging.parts import Contents, operator_parts
from loong_gateway.messaging.send_options import all_options, check_contents, checked_options, file_kind

FEISHU = catalog.spec("feishu")
TELEGRAM = catalog.spec("telegram")
HERE = Address("feishu", "work", "oc_1")
PDF = OutboundFile("/copies/1", "a.pdf")


def parts(contents: Contents, spec=FEISHU):
    return [
        (one.text, one.markup, dict(one.extra), one.file)
        for one in (part.outbound for part in operator_parts(spec, HERE, contents, group="g", expires_ms=1))
    ]


def test_one_name_means_one_thing_on_every_channel() -> None:
    for name, (option, channels) in all_options().items():
        for channel in channels:
            (found,) = [one for one in catalog.spec(channel).send_options if one.name == name]
            assert (found.kind, found.goes_with) == (option.kind, option.goes_with), name
        assert option.kind in ("flag", "choice", "text", "json", "key")
        assert option.goes_with in ("text", "file", "all", "alone")


def test_options_are_brought_into_the_form_that_the_channel_wants() -> None:
    given = {
        "card": True,
        "post_json": '{"zh_cn": {}}',
        "file_type": "PDF",
        "receive_id_type": "open-id",
        "uuid": " u-1 ",
        "image_key": None,
    }
    assert checked_options(FEISHU, given) == {
        "card": True,
        "post_json": {"zh_cn": {}},
        "file_type": "pdf",
        "receive_id_type": "open_id",
        "uuid": "u-1",
    }
    assert checked_options(FEISHU, {"card": False, "post_json": {"en_us": {}}}) == {
        "post_json": {"en_us": {}}
    }


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"card": "yes"}, "--card is either there or not"),
        ({"post_json": "{"}, "--post-json is not valid JSON"),
        ({"post_json": "[1]"}, "--post-json must be a JSON object"),
        ({"post_json": 7}, "--post-json must be a JSON object"),
        ({"post_json": {}}, "--post-json must be a JSON object"),
        ({"post_json": {"a": "x" * 30_000}}, "--post-json has at most 30000 characters"),
        ({"post_json": '{"a":' * 100_000}, "--post-json is not valid JSON"),
        ({"file_type": "exe"}, "--file-type is one of opus, mp4"),
        ({"uuid": "u" * 51}, "--uuid has at most 50 characters"),
        ({"image_key": " "}, "--image-key needs a value of printable characters"),
        ({"image_key": "a\nb"}, "--image-key needs a value"),
        ({"image_key": 7}, "--image-key needs a value"),
    ],
)
def test_a_value_that_cannot_be_one_is_refused_by_name(given: dict[str, object], words: str) -> None:
    with pytest.raises(CommandError) as caught:
        checked_options(FEISHU, given)
    assert words in caught.value.message
    assert caught.value.exit_code == 2


def test_an_option_of_another_channel_is_refused_by_name() -> None:
    with pytest.raises(CommandError) as caught:
        checked_options(TELEGRAM, {"post_json": "{}"})
    assert caught.value.message == "telegram does not take --post-json; feishu would"
    with pytest.raises(CommandError) as caught:
        checked_options(FEISHU, {"no_such": True, "card": True})
    assert caught.value.message == "feishu does not take --no-such"
    assert checked_options(TELEGRAM, {"card": False}) == {}


@pytest.mark.parametrize(
    ("text", "options", "files", "words"),
    [
        ("", {}, (), "there is nothing to send"),
        ("", {"uuid": "u"}, (), "there is nothing to send"),
        ("", {"card": True}, ("file",), "--card needs --text"),
        ("text", {"file_type": "pdf"}, (), "--file-type needs --file"),
    ],
)
def test_what_has_nothing_to_be_about_is_refused(text, options, files, words) -> None:
    with pytest.raises(CommandError) as caught:
        check_contents(FEISHU, text, options, files)
    assert words in caught.value.message


def test_the_text_goes_first_then_what_stands_alone_then_the_files() -> None:
    options = {
        "uuid": "u",
        "card": True,
        "image_key": "img_1",
        "file_type": "pdf",
        "receive_id_type": "open_id",
    }
    check_contents(FEISHU, "x", options, ("file",))
    everywhere = {"receive_id_type": "open_id"}
    assert parts(Contents("x" * 4001, options, (PDF,))) == [
        ("x" * 4000, "markdown", {**everywhere, "card": True, "uuid": "u"}, None),
        ("x", "markdown", {**everywhere, "card": True, "uuid": "u-1"}, None),
        ("", "markdown", {**everywhere, "file_type": "pdf", "uuid": "u-2", "image_key": "img_1"}, None),
        ("", "markdown", {**everywhere, "file_type": "pdf", "uuid": "u-3"}, PDF),
    ]


def test_where_markdown_can_be_asked_for_a_text_is_sent_as_it_is_written() -> None:
    assert [markup for _, markup, _, _ in parts(Contents("**b**"))] == ["plain"]
    assert [markup for _, markup, _, _ in parts(Contents("**b**"), TELEGRAM)] == ["markdown"]


def test_every_part_has_a_key_of_its_own_and_none_has_no_content() -> None:
    made = operator_parts(FEISHU, HERE, Contents("x", {}, (PDF, PDF)), group="g", expires_ms=1)
    assert [(part.id, part.part, part.outbound.idempotency_key) for part in made] == [
        ("g-0", 0, "g-0"),
        ("g-1", 1, "g-1"),
        ("g-2", 2, "g-2"),
    ]
    assert operator_parts(FEISHU, HERE, Contents(" \n"), group="g", expires_ms=1) == []


@pytest.mark.parametrize(
    ("kinds", "name", "wanted", "kind"),
    [
        (("image", "file"), "a.png", "image", "image"),
        (("file",), "a.png", "image", "file"),
        (("file", "audio"), "A.MP3", "file", "audio"),
        (("file",), "a.mp3", "file", "file"),
        (("file", "video"), "a.mp4", "file", "video"),
        (("file", "video"), "a", "file", "file"),
        (("file", "image"), "a.png", "file", "file"),
    ],
)
def test_a_file_is_sent_as_what_the_channel_can(kinds, name, wanted, kind) -> None:
    spec = type(FEISHU)(**{**vars(FEISHU), "file_kinds": kinds})
    assert file_kind(spec, name, wanted) == kind


def test_a_channel_without_files_says_so() -> None:
    spec = type(FEISHU)(**{**vars(FEISHU), "file_kinds": ()})
    with pytest.raises(CommandError) as caught:
        file_kind(spec, "a.pdf", "file")
    assert caught.value.message == "feishu cannot send files"
