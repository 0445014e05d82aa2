from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

from contrib import kinds_page
from contrib.settings_page import page
from loong_gateway.commandline.verbs import find_verb
from loong_gateway.texts import all_rows

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def test_the_page_of_settings_is_the_one_that_the_table_makes() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == page()


def test_links_between_the_pages_lead_somewhere() -> None:
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (path.parent / target).exists(), f"{path.name}: {target}"


@pytest.mark.parametrize(
    "page_name",
    ["README.md", "docs/operations.md", "docs/sessions.md", "docs/work-units.md", "docs/audit.md"],
)
def test_every_command_of_a_page_exists(page_name: str) -> None:
    readme = (ROOT / page_name).read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)) + "\n".join(
        re.findall(r"\| `(.*?)`", readme)
    )
    commands = re.findall(r"^\s*(?:.*&& )?(?:\.venv/bin/)?loong ([-a-z][^|#\[\n]*)", blocks, re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        assert find_verb(command.split()).module, command


def test_the_example_config_of_the_readme_is_valid(tmp_path: pathlib.Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    example = re.search(r"```toml\n(.*?)```", readme, re.DOTALL)
    assert example is not None
    config = tmp_path / "config.toml"
    config.write_text(re.sub(r"^   ", "", example.group(1), flags=re.MULTILINE), encoding="utf-8")
    config.chmod(0o600)
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "loong.py"),
            "validate-config",
            "--config",
            str(config),
            "--fail-on-diagnostics",
        ],
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


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
