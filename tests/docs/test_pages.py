from __future__ import annotations

import itertools
import pathlib
import re
import shlex
import textwrap

import pytest

from contrib import kinds_page
from contrib.settings_page import page
from loong_gateway.base.faults import CommandError
from loong_gateway.commandline.parser import load, parse
from loong_gateway.commandline.verbs import find_verb, group_members
from loong_gateway.texts import all_rows
from tests.gateway.config.reading import findings

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def test_the_page_of_settings_is_the_one_that_the_table_makes() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == page()


def test_links_between_the_pages_lead_somewhere() -> None:
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (path.parent / target).exists(), f"{path.name}: {target}"


PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
NAMES = [path.name for path in PAGES]
ENDS_A_COMMAND = frozenset(["|", "||", "&", "&&", ";", ")", ">", "<"])


def blocks(page: pathlib.Path, language: str) -> list[str]:
    """The blocks of a page in that language, as they are written at the left margin."""
    found = re.findall(
        rf"^ *```{language}\n(.*?)^ *```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    return [textwrap.dedent(one) for one in found]


def words_of(line: str) -> list[str]:
    """The words of the command that a line of a shell begins with."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(itertools.takewhile(lambda word: word not in ENDS_A_COMMAND, lexer))


def printed(page: pathlib.Path) -> list[list[str]]:
    """The commands of loong in the blocks of a page."""
    lines = [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
    return [
        words_of(match[1])
        for line in lines
        if not line.lstrip().startswith("#")
        for match in re.finditer(r"(?:^|[\s(/])loong (.*)", line)
    ]


def commands(page: pathlib.Path) -> list[list[str]]:
    """Those and the ones in its sentences, without what may be left out, the first of what may be chosen."""
    found = printed(page)
    for inline in re.findall(r"`loong ([a-z-][^`]*)`", page.read_text(encoding="utf-8").replace("\n", " ")):
        found.append(words_of(re.sub(r"\\?\|[a-z]+|\[[^\]]*\]", "", inline)))
    return [words for words in found if not {"VERB", "..."} & set(words)]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_that_a_page_prints_is_one(page: pathlib.Path) -> None:
    for words in commands(page):
        if group_members(" ".join(words)):
            continue
        call = find_verb(words)
        if call.wants_help:
            continue
        try:
            parse(call.verb, load(call.module), call.rest)
        except CommandError as error:
            # In a sentence a page may name a verb without what it needs; what it says of it has to be right.
            assert words not in printed(page), (words, error.message)
            assert error.message.endswith(("is missing", "are missing", "needs a value")), (
                words,
                error.message,
            )


def test_commands_are_found_wherever_a_page_prints_them() -> None:
    assert ["audit", "summary"] in commands(ROOT / "docs" / "audit.md")
    worker = commands(ROOT / "docs" / "work-units.md")
    assert "$id" in next(words for words in worker if "heartbeat" in words)
    assert ["runtime", "mcp", "list"] in commands(ROOT / "docs" / "tools.md")
    assert sum(len(commands(page)) for page in PAGES) > 60


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_configs_of_a_page_leave_nothing_to_be_said(page: pathlib.Path) -> None:
    for block in blocks(page, "toml"):
        # A page about a channel leaves the provider to the page about providers.
        text = block if "provider" in block else f'{block}\n[provider]\nkind = "ollama"\n'
        environ = {name: f"the-secret-of-{name}" for name in re.findall(r'env = "(\w+)"', text)}
        assert findings(text, environ) == [], block


def test_every_degraded_reason_is_in_the_table_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme[readme.index("`degraded_reasons` holds codes") : readme.index("### The port")]
    documented = set(re.findall(r"`([a-z_]+)`", table))
    texts = all_rows()
    of_texts = {code.partition(".")[2] for code in texts if code.startswith(("reason.", "surface."))}
    refused = {
        code.replace(".", "_") for code, row in texts.items() if row[3] == 78 and code != "owner.active"
    }
    reader = (ROOT / "loong_gateway" / "owner" / "status.py").read_text(encoding="utf-8")
    made = set(re.findall(r'reasons\.(?:append|insert)\((?:0, )?"([a-z_]+)"', reader))
    made |= set(re.findall(r'"degraded_reasons"\] = \["([a-z_]+)"', reader))
    assert len(made) >= 5
    assert (of_texts | refused | made | {"start_refused"}) - documented == set()


def test_the_table_of_kinds_is_that_of_the_code() -> None:
    text = kinds_page.PAGE.read_text(encoding="utf-8")
    assert kinds_page.page(text) == text and "| `zhipu` |" in text
