import numpy as np
import pytest
import torch

from diffdenoise.noise.across import frames_help, neighbours_help, neighbours_share_noise
from diffdenoise.noise.models import correlated, gaussian, rician
from diffdenoise.phantom import mni_slices


@pytest.fixture(scope="module")
def volume() -> torch.Tensor:
    return torch.from_numpy(mni_slices(60, 24, 1))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("sigma", [6, 25, 50])
def test_slices_with_noise_of_their_own_help(volume: torch.Tensor, sigma: float) -> None:
    assert neighbours_help(gaussian(volume, sigma / 255, generator()).numpy())
    assert neighbours_help(correlated(volume, sigma / 255, 1.2, generator()).numpy())
    assert neighbours_help(rician(volume, sigma / 255, generator()).numpy())


@pytest.mark.parametrize("weight", [0.2, 0.5, 1.0])
def test_slices_that_share_noise_do_not(volume: torch.Tensor, weight: float) -> None:
    """As interpolation along the slices makes it; the correlation between neighbours is 0.37 to 0.67."""
    white = torch.randn(len(volume) + 2, *volume.shape[1:], generator=generator())
    shared = weight * white[:-2] + white[1:-1] + weight * white[2:]
    noisy = (volume + 0.1 * shared / shared.std()).numpy()
    assert not neighbours_help(noisy)
    assert neighbours_share_noise(noisy)


def test_unrelated_images_do_not_nor_too_few_or_too_small_ones(volume: torch.Tensor) -> None:
    noisy = gaussian(volume, 0.1, generator()).numpy()
    turned = np.stack([np.roll(image, 60 * number, axis=(0, 1)) for number, image in enumerate(noisy)])
    for unknown in (turned, noisy[:2], noisy[:, :12, :12], np.zeros((5, 64, 64), np.float32)):
        assert not neighbours_help(unknown)
        assert not neighbours_share_noise(unknown)
    assert not neighbours_share_noise(noisy)


FRAMES = 9


def series(volume: torch.Tensor) -> torch.Tensor:
    """FRAMES volumes of much the same brightness, without noise, one after the other."""
    return torch.cat([volume * (1 + 0.01 * number) for number in range(FRAMES)])


@pytest.mark.parametrize("sigma", [6, 25, 50])
def test_frames_with_noise_of_their_own_help(volume: torch.Tensor, sigma: float) -> None:
    assert frames_help(gaussian(series(volume), sigma / 255, generator()).numpy(), FRAMES)
    assert frames_help(correlated(series(volume), sigma / 255, 1.2, generator()).numpy(), FRAMES)
    assert frames_help(rician(series(volume[:1]), sigma / 255, generator()).numpy(), FRAMES)


def test_frames_that_were_filtered_in_time_do_not_nor_unrelated_ones_nor_too_few(volume: torch.Tensor) -> None:
    clean = series(volume).numpy()
    noise = 0.1 * np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    assert frames_help(clean + noise, FRAMES)
    assert not frames_help(clean + (noise + np.roll(noise, len(volume), axis=0)) / 2, FRAMES)
    volumes = np.split(clean + noise, FRAMES)
    assert not frames_help(np.concatenate([np.roll(x, 50 * t, axis=(1, 2)) for t, x in enumerate(volumes)]), FRAMES)
    assert not frames_help(clean + noise, 1)
    assert not frames_help(np.concatenate(volumes[:2]), 2)
    assert not frames_help((clean + noise)[:, :12, :12], FRAMES)
    assert not frames_help(np.zeros((10, 64, 64), np.float32), 5)
