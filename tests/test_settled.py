from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from diffdenoise import settled
from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.errors import ConfigError
from diffdenoise.inference import chosen
from diffdenoise.model import Model, Round
from diffdenoise.noise.estimate import constant_level
from diffdenoise.noise.models import correlated, gaussian
from diffdenoise.preparation import Source, prepare
from diffdenoise.presets import make_config
from diffdenoise.scans.scan import Scan
from diffdenoise.second_opinion import WHY_NONE, SecondOpinion, Shares
from tests.conftest import noisy_disks


def settled_after(folder: Path, slices: int, **student: Any) -> Model:
    """20 steps of 2 crops of 32 x 32 pixels, on slices of 64 x 64."""
    config = make_config("smoke", {"student": {"learns_from": "recorrupted", **student}})
    scan = Source("disks", lambda: Scan(noisy_disks(slices=slices, rows=64, columns=64), "disks", "npy"))
    found = prepare([scan], config, folder, lambda *_: None)
    model = Model(found.config, found.normalisation, ChainTarget("image"), None, (Round(None, nn.Identity()),))
    return settled.settled(model, found, "cpu")


@pytest.mark.parametrize(
    ("slices", "asked", "expected"), [(1, None, 8), (2, None, 4), (5, None, 2), (16, None, 1), (16, 8, 8)]
)
def test_how_many_turns_are_asked_is_decided_by_how_much_training_there_was(
    tmp_path: Path, slices: int, asked: int | None, expected: int
) -> None:
    """It pays for 7.5 further passes over a slice."""
    model = settled_after(tmp_path, slices, turns=asked, second_opinion=False)
    assert model.config.student.turns == expected


@pytest.mark.parametrize(
    ("slices", "asked", "expected"), [(1, None, True), (7, None, True), (9, None, False), (9, True, True)]
)
def test_a_second_opinion_is_looked_for_where_it_takes_little_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slices: int, asked: bool | None, expected: bool
) -> None:
    """Two thirds of it, worth 3 passes each, pay for 2.5 passes over 8 slices."""
    second = SecondOpinion(Shares(0.5, 1.0), constant_level(0.1))
    monkeypatch.setattr(settled, "second_opinion_of", lambda *_: second)
    model = settled_after(tmp_path, slices, second_opinion=asked)
    assert model.second_opinion == (second if expected else None)
    assert ("taken long" in model.history.get(WHY_NONE, "")) != expected


def test_why_none_is_asked_is_told_to_who_wants_one(tmp_path: Path) -> None:
    model = settled_after(tmp_path, 1, second_opinion=False)
    with pytest.raises(ConfigError, match=r"fitted with second_opinion = false.* or fit with second_opinion = true"):
        chosen(model, "second_opinion")


@pytest.mark.parametrize(
    ("grain", "asked", "expected"), [("keep", None, False), ("keep", True, True), ("remove", None, True)]
)
def test_beside_grain_that_is_kept_none_is_asked_but_by_who_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grain: str, asked: bool | None, expected: bool
) -> None:
    second = SecondOpinion(Shares(0.5, 1.0), constant_level(0.1))
    monkeypatch.setattr(settled, "second_opinion_of", lambda *_: second)
    generator = torch.Generator().manual_seed(0)
    clean = torch.from_numpy(noisy_disks(slices=2, rows=96, columns=96, sigma=0.0))
    grainy = correlated(gaussian(clean, 0.03, generator), 0.1, 1.2, generator).numpy()
    settings = {"learns_from": "recorrupted", "turns": 1, "second_opinion": asked}
    config = make_config("smoke", {"student": settings, "grain": grain})
    found = prepare([Source("disks", lambda: Scan(grainy, "disks", "npy"))], config, tmp_path, lambda *_: None)
    model = Model(found.config, found.normalisation, ChainTarget("image"), None, (Round(None, nn.Identity()),))
    assert (settled.settled(model, found, "cpu").second_opinion is not None) == expected
    assert (found.kept[0] > 0) == (grain == "keep")
