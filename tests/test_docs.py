"""README and docs say what runs: every code block is executed, every command parsed, every YAML block checked."""

from __future__ import annotations

import re
import runpy
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from stillwise.cli import build_parser
from stillwise.parts import BUILTIN_FOLDERS, Part, builtin_catalogue
from stillwise.recipe.load import load, read_binding
from stillwise.recipe.schema import ARROWS, PLAINEST, Binding
from tools.generate import generated

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


@dataclass(frozen=True)
class Block:
    """One fenced block: its page, the line it starts on, its language and its text."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf8")
        for match in BLOCK.finditer(text):
            if match[1] in languages:
                found.append(Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2]))
    return found


def commands() -> list[tuple[str, list[str]]]:
    """(place, words) of each command line; lines that start with no ``$`` are what a command printed."""
    lines = [(str(block), line) for block in blocks("console") for line in block.text.splitlines()]
    return [(place, shlex.split(line[2:], comments=True)) for place, line in lines if line.startswith("$ ")]


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_blocks_run(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "block.py"
    script.write_text(block.text, encoding="utf8")
    runpy.run_path(str(script), run_name="docs_block")


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_yaml_blocks_are_valid(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "block.yaml"
    file.write_text(block.text, encoding="utf8")
    data = yaml.safe_load(block.text)
    if isinstance(data, list):
        for step in data:
            assert isinstance(built(step), Part)
    elif "steps" in data:
        assert load(file).method.steps
    else:
        assert read_binding(file, {"catalogue": builtin_catalogue()}) != Binding()


def built(step: dict[str, dict[str, Any]]) -> Part:
    """The part of one step as a recipe writes it."""
    ((arrow, body),) = step.items()
    fields = {key: value for key, value in body.items() if key not in ("as", "from")}
    part: Part = TypeAdapter(ARROWS[arrow]).validate_python({"kind": PLAINEST.get(arrow), **fields})
    return part


@pytest.mark.parametrize(("place", "words"), commands(), ids=[f"{place} {' '.join(words[:3])}" for place, words in commands()])
def test_commands_exist(place: str, words: list[str]) -> None:
    if words[0] == "stillwise":
        build_parser().parse_args(words[1:])
    elif words[0] == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert {word for word in words[1:] if "=" not in word} <= targets
    else:
        assert words[0] == ".venv/bin/python", f"{place}: unknown command {words[0]}"
        assert words[1] == "-m" or (ROOT / words[1]).is_file()


def test_only_known_languages_are_fenced() -> None:
    languages = {match[1] for page in PAGES for match in BLOCK.finditer(page.read_text(encoding="utf8"))}
    assert languages <= {"python", "yaml", "console", "text"}, "a block that no test reads"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    missing = [target for target in LINK.findall(page.read_text(encoding="utf8")) if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("folder", [folder for folder in BUILTIN_FOLDERS if (ROOT / "stillwise" / folder).is_dir()])
def test_every_part_stands_on_its_arrows_page(folder: str) -> None:
    page = (ROOT / "docs" / f"{folder}.md").read_text(encoding="utf8")
    kinds = [kind for kind, part in builtin_catalogue().parts.items() if part.__module__.startswith(f"stillwise.{folder}.")]
    assert not [kind for kind in kinds if f"`{kind}`" not in page]


def test_generated_parts_are_current() -> None:
    wanted = generated()
    stale = [str(path) for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf8") != text]
    assert not stale, "run: make docs"
    pages = [path for ending in ("md", "svg") for path in (ROOT / "docs" / "recipes").glob(f"*.{ending}")]
    assert not set(pages) - set(wanted), "pages of recipes that are no more"


def test_benchmarks_of_the_readme_exist() -> None:
    scripts = re.findall(r"`\.venv/bin/python (benchmarks/\w+\.py)", (ROOT / "README.md").read_text(encoding="utf8"))
    assert scripts
    assert not [script for script in scripts if not (ROOT / script).is_file()]
