"""Writes the table of provider kinds in docs/providers.md: python -m contrib.kinds_page"""

from __future__ import annotations

import pathlib

from loong_gateway.config.kinds import KINDS, Kind
from loong_gateway.providers.endpoints import join

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs" / "providers.md"
BEGIN, END = "<!-- kinds: begin -->", "<!-- kinds: end -->"
PROTOCOLS = {
    "openai_chat": "chat completions",
    "anthropic_messages": "Messages",
    "bedrock_converse": "Converse",
}


def row(kind: Kind) -> str:
    """One line of the table."""
    path = kind.models_path
    names = [f"`{name}`" for name in (*kind.oauth_env, *kind.key_env)]
    auto = kind.auto_models[0] if kind.auto_models else "" if kind.auto_lists else "write model"
    cells = (
        f"`{kind.name}`",
        " ".join(f"`{name}`" for name in kind.aliases),
        f"`{join(kind.base_url, kind.chat_path)}`",
        f"`{path if '://' in path else join(kind.base_url, path)}`",
        ", ".join(names) if names else "none needed",
        PROTOCOLS[kind.protocol],
        f"`{auto}`" if kind.auto_models else auto,
    )
    return "| " + " | ".join(cells) + " |"


def table() -> str:
    """The whole table."""
    head = "| kind | also | chat call | model list | key | protocol | model without a list |"
    return "\n".join(
        [
            head,
            "|---|---|---|---|---|---|---|",
            *(row(kind) for name, kind in KINDS.items() if name != "echo"),
        ]
    )


def page(text: str) -> str:
    """The page with the table of now."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
