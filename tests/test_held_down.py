import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffdenoise import pipeline
from diffdenoise.denoiser import Denoiser
from diffdenoise.held_down import LEAST, held_down
from diffdenoise.noise.estimate import constant_level, scaled
from diffdenoise.noise.texture import smoothed
from diffdenoise.preparation import Slices, Source, prepare
from diffdenoise.presets import make_config
from diffdenoise.scans.scan import Scan
from tests.conftest import noisy_disks

SIGMA = 0.1


def prepared(folder: Path, **changes: Any) -> Slices:
    pixels = noisy_disks(slices=4, rows=96, columns=96, sigma=SIGMA)
    config = make_config("fast", {"student": {"neighbours": 0, "series": False}, **changes})
    return prepare([Source("disks", lambda: Scan(pixels, "disks", "npy"))], config, folder, lambda *_: None)


def sigmas(slices: Slices) -> np.ndarray:
    """In the unit of the scan."""
    return np.array([level.sigma for level in slices.levels]) * slices.scales[0][1]


def test_a_level_that_is_too_high_is_held_down_to_what_flat_places_bear_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    right = prepared(tmp_path)
    assert held_down(right) is right  # what is measured of disks is right
    with caplog.at_level(logging.INFO, "diffdenoise"):
        held = held_down(replace(right, levels=[scaled(level, 1.08) for level in right.levels]))
    np.testing.assert_allclose(sigmas(held), sigmas(right), rtol=0.02)
    assert "93 % as strong" in caplog.text or "92 % as strong" in caplog.text


def test_it_is_held_down_so_far_and_no_further(tmp_path: Path) -> None:
    right = prepared(tmp_path)
    held = held_down(replace(right, levels=[scaled(level, 1.5) for level in right.levels]))
    np.testing.assert_allclose(sigmas(held), 1.5 * LEAST * sigmas(right))


def test_a_level_that_is_too_low_is_left_alone(tmp_path: Path) -> None:
    right = prepared(tmp_path)
    low = replace(right, levels=[scaled(level, 0.8) for level in right.levels])
    assert held_down(low) is low


@pytest.mark.parametrize(
    ("preset", "changes"),
    [("fast", {"sigma": 1.2 * SIGMA}), ("cpu", {}), ("fast", {"student": {"start": "random"}})],
)
def test_what_is_told_is_believed_and_without_a_start_there_is_nobody_to_ask(
    tmp_path: Path, preset: str, changes: dict[str, Any]
) -> None:
    pixels = noisy_disks(slices=2, rows=96, columns=96, sigma=SIGMA)
    config = make_config(preset, changes)
    slices = prepare([Source("disks", lambda: Scan(pixels, "disks", "npy"))], config, tmp_path, lambda *_: None)
    high = replace(slices, levels=[scaled(level, 1.2) for level in slices.levels])
    assert held_down(high) is high


@pytest.mark.parametrize("known", ["repeated", "counted"])
def test_what_is_known_better_stays(tmp_path: Path, known: str) -> None:
    slices = prepared(tmp_path)
    high = replace(slices, levels=[scaled(level, 1.2) for level in slices.levels], **{known: [True]})
    assert held_down(high) is high


def test_about_correlated_noise_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slices = prepared(tmp_path)
    monkeypatch.setattr("diffdenoise.held_down.first_student", lambda *_: pytest.fail("asked"))
    coarse = replace(slices, levels=[replace(level, texture=smoothed(1.0)) for level in slices.levels])
    assert held_down(coarse) is coarse


def test_correlated_noise_beside_white_noise_stays_and_does_not_count(tmp_path: Path) -> None:
    pixels = [noisy_disks(slices=2, rows=96, columns=96, sigma=SIGMA) for _ in range(3)]
    sources = [Source(f"disks {n}", lambda x=x: Scan(x, "disks", "npy")) for n, x in enumerate(pixels)]
    config = make_config("fast", {"student": {"neighbours": 0, "series": False}, "normalisation": "fixed"})
    slices = prepare(sources, config, tmp_path, lambda *_: None)
    high = [scaled(level, 1.08) for level in slices.levels]
    correlated = [replace(level, texture=smoothed(1.2), reach=3) for level in high[:2]]  # most of the three
    mixed = replace(slices, levels=[*correlated, high[2]], repeated=[False] * 3)
    held = held_down(mixed)
    assert held.levels[:2] == correlated
    assert held.levels[2].typical < 0.96 * high[2].typical


def test_a_fit_goes_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = constant_level(0.0321)
    monkeypatch.setattr(pipeline, "held_down", lambda slices: replace(slices, levels=[held] * len(slices.levels)))
    fitted = Denoiser.fit(
        noisy_disks(slices=1, rows=48),
        folder=tmp_path,
        device="cpu",
        overrides={"student": {"steps": 1, "second_opinion": True}},
    )
    assert fitted.model.second_opinion is not None
    assert fitted.model.second_opinion.level == held
