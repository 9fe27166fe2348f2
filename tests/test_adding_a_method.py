"""The page on adding a method, followed from an empty folder: its files written, its commands run, its package installed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stillwise.cli import main
from stillwise.recipe.api import Recipe, catalogue_with

PAGE = Path(__file__).parents[1] / "docs" / "adding-a-method.md"
TEXT = PAGE.read_text(encoding="utf8")
FILES = dict(re.findall(r"File `([^`]+)`[^\n`]*:\n\n```\w+\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
COMMANDS = [shlex.split(line)[1:] for line in re.findall(r"^\$ (stillwise .*)$", TEXT, re.MULTILINE)]
INSTALLED = Path(sys.executable).with_name("stillwise")


def written(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(FILES[name], encoding="utf8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder that one works in, which leaves nothing behind in this process."""
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield tmp_path
    sys.path[:] = before
    sys.modules.pop("careful", None)


def test_the_page_names_its_files_and_commands() -> None:
    assert set(FILES) == {
        "small-set.yaml", "quick.yaml", "careful.py", "pyproject.toml", "stillwise_careful/recipes/careful-set.yaml",
    }  # fmt: skip
    assert [words[0] for words in COMMANDS] == ["check", "plan", "run", "check", "run", "check", "run", "list"]


def test_each_command_works_as_it_stands_on_the_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(folder, "small-set.yaml", "quick.yaml")
    for words in COMMANDS[:3]:
        assert main([*words, *(["--quiet", "--threads", "1"] if words[0] == "run" else [])]) == 0
    assert (folder / "runs" / "first" / "report.html").is_file()
    written(folder, "careful.py")
    subprocess.run([INSTALLED, *COMMANDS[3]], check=True, cwd=folder)
    found = Recipe.load("small-set.yaml", binding="quick.yaml", set={"care.kind": "careful"}, plugins=["careful"])
    again = found.run(folder / "runs" / "first", threads=1, progress="quiet")
    assert again.fresh[:2] == ("care", "small_set"), "the traces are found"
    assert "before" not in again.fresh
    assert main([*COMMANDS[4], "--quiet", "--threads", "1"]) == 0
    assert "nothing was left to do" in capsys.readouterr().out


def installed(folder: Path) -> dict[str, str]:
    """The page's package in a folder of its own, and an environment that sees it."""
    source, target = folder / "source", folder / "target"
    written(source, "pyproject.toml", "stillwise_careful/recipes/careful-set.yaml")
    (source / "stillwise_careful" / "__init__.py").write_text(FILES["careful.py"], encoding="utf8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", target, source], check=True)
    path = os.pathsep.join(filter(None, [str(target), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def test_a_package_works_by_installation_alone(folder: Path) -> None:
    written(folder, "quick.yaml")
    environment = installed(folder)
    for words in COMMANDS[5:]:
        more = ["--quiet", "--threads", "1"] if words[0] == "run" else []
        done = subprocess.run(
            [INSTALLED, *words, *more], env=environment, cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert "LIMO with fewer words for care." in done.stdout
    scores = (folder / "runs" / "plugged" / "metrics.json").read_text()
    assert '"careful"' in scores
    words = [str(INSTALLED), "check", "careful-sett"]
    missed = subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert missed.returncode == 2
    assert "did you mean 'careful-set'?" in missed.stderr


@pytest.mark.parametrize(
    ("entry", "recipe", "says"),
    [
        ("stillwise_careful.recipes", "limo", "'limo', a name that is taken by one that ships"),
        ("stillwise_careful.nowhere", "careful-set", "which is no package that can be found"),
    ],
)
def test_what_a_package_does_wrong_is_named(tmp_path: Path, entry: str, recipe: str, says: str) -> None:
    package, info = tmp_path / "stillwise_careful", tmp_path / "wrong-1.dist-info"
    (package / "recipes").mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").write_text("")
    (package / "recipes" / f"{recipe}.yaml").write_text("extends: limo\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wrong\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[stillwise.recipes]\nmine = {entry}\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [INSTALLED, "check", "nothing-of-that-name"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert says in done.stderr


def test_a_module_of_the_folder_is_found_without_being_installed(folder: Path) -> None:
    written(folder, "careful.py")
    assert "careful" in catalogue_with(["careful"]).parts
