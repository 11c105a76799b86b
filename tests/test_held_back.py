from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from diffdenoise import Denoiser, pipeline
from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.held_back import MOST_PAIRS, share_borne_out
from diffdenoise.model import Model, Round
from diffdenoise.model_file import load_model
from diffdenoise.preparation import Slices, Source, prepare
from diffdenoise.presets import make_config
from diffdenoise.scans.scan import Scan
from tests.conftest import noisy_disks

FINE, NOISE = 0.02, 0.04  # standard deviations; of the object's own detail, which no two pixels share, and of the noise
BEST = FINE**2 / (FINE**2 + NOISE**2)  # share of an image's detail that is the object's


class Keeps(nn.Module):
    """So much of what differs from the mean of each square of 8 pixels, the object's coarse structure."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        coarse = interpolate(avg_pool2d(x, 8), scale_factor=8)
        return coarse + self.share * (x - coarse)


def imaged(times: int, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    coarse = np.kron(random.uniform(0, 1, (4, 12, 12)), np.ones((8, 8)))
    once = coarse + FINE * random.standard_normal(coarse.shape)
    return [(100 * (once + NOISE * random.standard_normal(once.shape))).astype(np.float32) for _ in range(times)]


def fitted(folder: Path, scans: list[Scan], student: nn.Module) -> tuple[Model, Slices]:
    sources = [Source(str(number), lambda scan=scan: scan) for number, scan in enumerate(scans)]
    config = make_config("fast", {"student": {"neighbours": 0}})
    slices = prepare(sources, config, folder, lambda *_: None)
    return Model(slices.config, slices.normalisation, ChainTarget("image"), None, (Round(None, student),)), slices


@pytest.mark.parametrize("as_series", [False, True])
@pytest.mark.parametrize("kept", [0.0, BEST / 2, BEST, (1 + BEST) / 2])
def test_what_is_left_is_the_best_there_is_unless_the_student_removes_less(
    tmp_path: Path, kept: float, as_series: bool
) -> None:
    """Of the share 1 - k that it removes as much that 1 - BEST is removed in the end; never more than it removes."""
    volumes = imaged(2)
    scans = [Scan(np.concatenate(volumes), "a", "npy", frames=2)] if as_series else []
    scans = scans or [Scan(volume, str(number), "npy") for number, volume in enumerate(volumes)]
    share = share_borne_out(*fitted(tmp_path, scans, Keeps(kept)), "cpu")
    assert share == pytest.approx(min(1.0, (1 - BEST) / (1 - kept)), abs=0.02)


def test_without_repetitions_nothing_is_held_back(tmp_path: Path) -> None:
    scans = [Scan(imaged(1, seed)[0], str(seed), "npy") for seed in (0, 1)]
    assert share_borne_out(*fitted(tmp_path, scans, Keeps(0.0)), "cpu") == 1


def test_a_level_that_is_given_is_not_evened_out_and_so_repetitions_are_still_asked(tmp_path: Path) -> None:
    scans = [Scan(volume, str(number), "npy") for number, volume in enumerate(imaged(2))]
    model, slices = fitted(tmp_path, scans, Keeps(0.0))
    config = slices.config.model_copy(update={"stabilise": True, "sigma": 100 * NOISE})  # none that make_config gives
    assert share_borne_out(replace(model, config=config), replace(slices, config=config), "cpu") < 0.9


def test_it_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="diffdenoise")
    scans = [Scan(volume, str(number), "npy") for number, volume in enumerate(imaged(2))]
    share = share_borne_out(*fitted(tmp_path, scans, Keeps(0.0)), "cpu")
    assert f"{100 * share:.0f} % is taken" in caplog.text


def test_of_a_series_all_is_seen_but_what_is_compared_with(tmp_path: Path) -> None:
    class Counts(Keeps):
        seen: ClassVar[list[int]] = []

        def forward(self, x: Tensor) -> Tensor:
            self.seen.append(len(x))
            return super().forward(x)

    volumes, student = imaged(6), Counts(BEST / 2)
    model, slices = fitted(tmp_path, [Scan(np.concatenate(volumes), "a", "npy", frames=6)], student)
    assert model.config.student.series
    share = share_borne_out(model, slices, "cpu")
    assert share == pytest.approx((1 - BEST) / (1 - BEST / 2), abs=0.02)
    assert len(student.seen) == 2 * MOST_PAIRS * 5 * 4  # five frames of four slices, from both sides


def test_a_fit_goes_by_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pipeline, "share_borne_out", lambda *_: 0.37)
    Denoiser.fit(noisy_disks(), folder=tmp_path, device="cpu", overrides={"student": {"steps": 1}})
    assert load_model(tmp_path / "model.safetensors").strength == 0.37
