from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.start.images import synthetic_images
from benchmarks.start.train import ALL, StartStage, draw_noise, noises_of
from diffdenoise.presets import make_config
from diffdenoise.training.slices import SliceStore, write_scan_slices
from diffdenoise.training.stage import train
from diffdenoise.training.start import STARTS, Start


def test_synthetic_images_span_the_unit_range_and_follow_their_seed() -> None:
    images = synthetic_images(3, 32, seed=1)
    assert images.shape == (3, 32, 32)
    assert images.dtype == np.float32
    assert all(image.std() > 0.02 and image.min() > -1 and image.max() < 3 for image in images)
    np.testing.assert_array_equal(images, synthetic_images(3, 32, seed=1))
    assert not np.array_equal(images, synthetic_images(3, 32, seed=2))


@pytest.mark.parametrize("start", [None, STARTS[1], STARTS[-2]])
def test_noise_is_as_strong_and_as_correlated_as_it_says(start: Start | None) -> None:
    crops = torch.full((200, 1, 48, 48), 0.4)  # where a growing level has the strength of an even one
    noises = ALL if start is None else noises_of(start)
    noise, sigma = draw_noise(crops, noises, torch.Generator().manual_seed(0))
    assert sigma.min() >= noises.low and sigma.max() <= noises.high
    beside = (noise[..., 1:] * noise[..., :-1]).flatten(1).mean(1) / (noise**2).flatten(1).mean(1)
    assert float((beside < 0.1).float().mean()) == pytest.approx(noises.white, abs=0.15)
    assert float((noise / sigma).std()) == pytest.approx(1, rel=0.03)


def test_it_trains(tmp_path: Path) -> None:
    write_scan_slices(tmp_path / "images", 0, synthetic_images(2, 32, seed=0)[:, None])
    settings = make_config("smoke", {"student": {"steps": 2}}).student
    stage = StartStage(settings, SliceStore(tmp_path / "images"), ALL, 0)
    before = stage.network.head.weight.detach().clone()
    train(stage, "", tmp_path / "training", "cpu", lambda *_: None)
    assert not torch.equal(before, stage.network.head.weight)
