import re

import numpy as np
import pytest
import torch

from diffdenoise.diagnosis import choose, diagnose, settle, told, with_sigma
from diffdenoise.noise.models import correlated, gaussian, poisson, rician
from diffdenoise.noise.trend import Kind
from diffdenoise.phantom import mni_slices
from diffdenoise.presets import PRESETS, make_config


def test_the_patch_reaches_past_the_correlation() -> None:
    assert [choose(["gaussian"], [reach]).patch for reach in (0, 1, 4)] == [1, 3, 9]
    assert choose(["gaussian"] * 3, [0, 1, 1]).patch == 3


@pytest.mark.parametrize(
    ("kind", "loss"), [("gaussian", "l1"), ("poisson", "l2"), ("gamma", "l2"), ("rician", "l2"), ("unknown", "l2")]
)
def test_the_loss_follows_the_kind(kind: str, loss: str) -> None:
    choice = choose([kind, kind, "unknown"], [0, 0, 0])  # type: ignore[list-item]
    assert choice.loss == loss
    assert loss.upper() in choice.why["blind_spot.loss"]


def test_reasons_are_told_for_what_the_config_leaves_open_and_for_nothing_else() -> None:
    choice = choose(["poisson"], [2])
    everything = told(make_config("cpu", {"blind_spot": {"loss": None}}), choice)
    assert [re.findall(r"setting ([\w.]+)\)", sentence) for sentence in everything] == [
        [], ["blind_spot.patch"], ["blind_spot.loss"], ["stabilise"],
    ]  # fmt: skip
    assert "noise_floor" in " ".join(told(make_config("fast"), choose(["rician"], [0])))
    assert "noise_floor" not in " ".join(told(make_config("fast", {"noise_floor": "keep"}), choose(["rician"], [0])))
    said = make_config("cpu", {"blind_spot": {"patch": 1, "loss": "l1"}, "stabilise": True})
    assert told(said, choice) == [choice.noise]
    assert "correlated over 2 pixels" in choice.noise


def test_what_a_config_says_is_kept_and_only_gaps_are_filled() -> None:
    choice = choose(["poisson"], [2])
    open_ = settle(make_config("cpu", {"blind_spot": {"loss": None}}), choice)
    assert (open_.blind_spot.patch, open_.blind_spot.loss) == (5, "l2")
    said = settle(make_config("cpu", {"blind_spot": {"patch": 1, "loss": "l1"}}), choice)
    assert (said.blind_spot.patch, said.blind_spot.loss) == (1, "l1")


@pytest.mark.parametrize(
    ("said", "kind", "settled"),
    [
        ("auto", "rician", "remove"),
        ("auto", "gaussian", "keep"),
        ("keep", "rician", "keep"),
        ("remove", "unknown", "remove"),
    ],
)
def test_the_floor_is_taken_off_where_there_is_one(said: str, kind: Kind, settled: str) -> None:
    assert settle(make_config("fast", {"noise_floor": said}), choose([kind], [0])).noise_floor == settled


def test_a_given_sigma_replaces_the_level_but_not_what_the_noise_is_like() -> None:
    clean, generator = torch.from_numpy(mni_slices(60, 6, 10)), torch.Generator().manual_seed(0)
    rician_ = with_sigma(diagnose(rician(clean, 0.06, generator).numpy()), 0.1)
    assert np.sqrt(rician_.variance(np.array([0.0, 1.0]))) == pytest.approx([0.0655, 0.1], rel=0.01)
    other = with_sigma(diagnose(correlated(clean, 0.06, 1.2, generator).numpy()), 0.1)
    assert (other.knots, other.sigma, other.skewness) == ((0.0,), (0.1,), ())
    assert other.reach > 0
    assert other.width > 0


def test_where_the_noise_is_correlated_the_paper_takes_another_network() -> None:
    paper = PRESETS["paper"]
    assert settle(paper, choose(["gaussian"], [0])).blind_spot.network == "puca"
    correlated_ = settle(paper, choose(["gaussian"], [2])).blind_spot
    assert (correlated_.network, correlated_.patch) == ("local_global", 5)
    assert settle(PRESETS["cpu"], choose(["gaussian"], [2])).blind_spot.network == "patch_blind"


@pytest.mark.parametrize(
    ("noise", "kind", "patch"), [("white", "gaussian", 1), ("0.5 px", "gaussian", 3), ("poisson", "poisson", 1)]
)
def test_from_the_scan_to_the_choice(noise: str, kind: str, patch: int) -> None:
    clean, generator = torch.from_numpy(mni_slices(60, 6, 10)), torch.Generator().manual_seed(0)
    simulate = {
        "white": lambda: gaussian(clean, 0.1, generator),
        "0.5 px": lambda: correlated(clean, 0.1, 0.5, generator),
        "poisson": lambda: poisson(clean, 200, generator),
    }
    found = diagnose(simulate[noise]().numpy())
    assert found.trend.kind == kind
    assert choose([found.trend.kind], [found.level.reach]).patch == patch
    assert found.faults == ()


def test_a_clipped_background_is_told() -> None:
    noisy = gaussian(torch.from_numpy(mni_slices(60, 6, 10)), 0.1, torch.Generator().manual_seed(0)).numpy()
    assert any("clipped" in fault for fault in diagnose(np.clip(noisy, 0, 1)).faults)
