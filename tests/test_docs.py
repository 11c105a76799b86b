"""What README and docs show must work: Python snippets run, commands are understood, links lead somewhere."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffdenoise import Denoiser, __version__
from diffdenoise.cli import app
from diffdenoise.config import Config, Settings
from diffdenoise.node.rules import Rules
from diffdenoise.presets import make_config
from tests.conftest import noisy_disks

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [(page.name, *block) for page in PAGES for block in re.findall(r"```(\w*)\n(.*?)```", page.read_text(), re.S)]
COMMANDS = sorted(
    {
        line.split("#")[0].strip()
        for _, _, text in BLOCKS
        for line in text.splitlines()
        if line.startswith("diffdenoise ")
    }
)


def test_there_is_something_to_test() -> None:
    assert len(COMMANDS) >= 6
    assert any(language == "python" for _, language, _ in BLOCKS)


@pytest.mark.parametrize("snippet", [text for _, language, text in BLOCKS if language == "python"])
def test_python_snippets_run(snippet: str, smoke_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "SCANS").mkdir()
    np.save(tmp_path / "SCANS" / "a.npy", noisy_disks())
    quick = re.sub(r'budget="\w+"', 'preset="smoke"', snippet)
    names: dict[str, Any] = {"noisy": noisy_disks(), "denoiser": Denoiser.load(smoke_model, "cpu")}
    exec(quick, names)
    made = [names[name] for name in ("clean", "off") if name in names]
    made += [names["result"].pixels] if "result" in names else []
    assert made
    assert all(image.shape == names["noisy"].shape for image in made)
    if outcome := names.get("outcome"):
        assert len(outcome.written) == 2
        assert not outcome.failed


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command: str) -> None:
    app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)


@pytest.mark.parametrize("settings", [text for _, language, text in BLOCKS if language == "toml"])
def test_settings_shown_are_settings(settings: str) -> None:
    shown = tomllib.loads(settings)
    if "rule" in shown:
        assert Rules.model_validate(shown).rule
    else:
        make_config("cpu", shown)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_setting_is_listed() -> None:
    listed = (ROOT / "docs" / "usage.md").read_text()
    for group, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            (line,) = (line for line in listed.splitlines() if line.startswith(f"| `[{group}]` |"))
            assert set(re.findall(r"`(\w+)`", line)) == set(field.annotation.model_fields), group
        else:
            assert f"`{group}`" in listed


def test_the_version_to_cite_is_this_one() -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert stated == __version__
