from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from diffdenoise.inference import Sampler, denoise_slices
from diffdenoise.model import Model, Round
from diffdenoise.model_file import load_model
from diffdenoise.noise.models import rician
from diffdenoise.noise.rician import without_floor
from diffdenoise.phantom import mni_slices
from diffdenoise.presets import make_config
from diffdenoise.tiling import tiled
from tests.conftest import noisy_disks


@pytest.fixture(scope="module")
def model(smoke_model: Path) -> Model:
    return load_model(smoke_model)


@pytest.mark.parametrize("network", ["blind_spot", "student"])
def test_the_networks_own_tiles_change_nothing(model: Model, network: str) -> None:
    x = torch.rand(1, 1, 130, 100)
    with torch.no_grad():
        whole = getattr(model, network)(x)
        parts = tiled(getattr(model, network), x, tile=48, halo=96)
    torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("sampler", ["student", "srds"])
def test_slices_do_not_depend_on_their_neighbours_or_order(model: Model, sampler: Sampler) -> None:
    fixed = replace(model, config=model.config.model_copy(update={"sigma": 0.05}))
    pixels = noisy_disks(slices=3)
    model_range = (0.1, 0.9)
    object.__setattr__(fixed, "normalisation", type(model.normalisation)("fixed", *model_range))
    together = denoise_slices(fixed, pixels, sampler).pixels
    order = [2, 0, 1]
    shuffled = denoise_slices(fixed, pixels[order], sampler).pixels
    torch.testing.assert_close(torch.from_numpy(shuffled), torch.from_numpy(together[order]), rtol=1e-5, atol=1e-5)
    alone = denoise_slices(fixed, pixels[1:2], sampler).pixels
    torch.testing.assert_close(torch.from_numpy(alone[0]), torch.from_numpy(together[1]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sampler", ["student", "srds"])
def test_results_follow_scale_and_offset_of_the_scan(model: Model, sampler: Sampler) -> None:
    pixels = noisy_disks()
    plain = denoise_slices(model, pixels, sampler)
    moved = denoise_slices(model, 1000 * pixels - 200, sampler)
    if sampler == "student":  # the sampler's noise comes from the image's own numbers
        np.testing.assert_allclose(moved.pixels, 1000 * plain.pixels - 200, rtol=1e-3, atol=0.5)
    assert abs((moved.pixels / 1000 + 0.2 - plain.pixels).mean()) < 0.02


def test_srds_gives_a_spread_and_a_seed_matters(model: Model) -> None:
    pixels = noisy_disks(slices=1)
    first, again, other = (denoise_slices(model, pixels, "srds", seed) for seed in (0, 0, 1))
    assert first.spread is not None and again.spread is not None and other.spread is not None
    assert np.array_equal(first.spread, again.spread)
    assert not np.array_equal(first.spread, other.spread)
    assert first.spread.shape == pixels.shape
    assert denoise_slices(model, pixels).spread is None


@pytest.mark.parametrize("sampler", ["student", "srds"])
def test_a_constant_image_comes_back_unchanged(model: Model, sampler: Sampler) -> None:
    pixels = np.full((2, 20, 30), 7.5, np.float32)
    assert np.array_equal(denoise_slices(model, pixels, sampler).pixels, pixels)


@pytest.mark.parametrize("sampler", ["student", "ensemble", "srds"])
def test_an_image_without_noise_comes_back_unchanged(model: Model, sampler: Sampler) -> None:
    clean = noisy_disks(sigma=0)
    assert np.array_equal(denoise_slices(model, clean, sampler).pixels, clean)
    assert not np.array_equal(denoise_slices(model, noisy_disks(), sampler).pixels, noisy_disks())


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 9), (2, 7, 3), (1, 33, 65)])
@pytest.mark.parametrize("sampler", ["student", "srds"])
def test_tiny_and_odd_sizes(model: Model, shape: tuple[int, int, int], sampler: Sampler) -> None:
    pixels = np.random.default_rng(0).random(shape).astype(np.float32)
    result = denoise_slices(model, pixels, sampler).pixels
    assert result.shape == shape
    assert np.isfinite(result).all()


@pytest.mark.parametrize("sampler", ["student", "srds"])
def test_the_result_stays_within_the_scans_range(model: Model, sampler: Sampler) -> None:
    magnitudes = np.abs(noisy_disks() - 0.2)
    result = denoise_slices(model, magnitudes, sampler).pixels
    assert magnitudes.min() <= result.min()
    assert result.max() <= magnitudes.max()


@pytest.mark.parametrize("wanted", ["remove", "keep", "auto"])
def test_the_floor_of_rician_noise_goes_where_the_fit_has_decided_so(model: Model, wanted: str) -> None:
    """By the scan's own background, of a model that lets everything through."""
    clean = torch.from_numpy(mni_slices(60, 2, 10))
    noisy = 500 * rician(clean, 0.06, torch.Generator().manual_seed(0)).numpy()
    through = replace(model, rounds=(Round(None, nn.Identity()),), config=make_config("fast", {"noise_floor": wanted}))
    result = denoise_slices(through, noisy).pixels
    expected = without_floor(noisy, 500 * 0.06) if wanted == "remove" else noisy
    np.testing.assert_allclose(result.mean(), expected.mean(), rtol=0.01)
    assert np.abs(result - expected).mean() < 1
    masked = np.where(clean.numpy() < 0.1, 0, noisy)  # nothing to tell sigma by
    np.testing.assert_allclose(denoise_slices(through, masked).pixels, masked, atol=0.1)
    told = replace(through, config=through.config.model_copy(update={"sigma": 30.0}))
    np.testing.assert_allclose(
        denoise_slices(told, masked).pixels.mean(),
        (without_floor(masked, 30.0) if wanted == "remove" else masked).mean(),
        rtol=0.01,
    )


def test_the_ensemble_sees_a_slice_and_the_slice_turned_alike(model: Model) -> None:
    pixels = noisy_disks(slices=2, rows=48, columns=48)
    turned = np.ascontiguousarray(np.rot90(pixels, axes=(1, 2)))
    one, other = (denoise_slices(model, image, "ensemble").pixels for image in (pixels, turned))
    np.testing.assert_allclose(np.rot90(one, axes=(1, 2)), other, atol=1e-4)
    plain, plain_turned = (denoise_slices(model, image).pixels for image in (pixels, turned))
    assert np.abs(np.rot90(plain, axes=(1, 2)) - plain_turned).max() > 1e-3


class Above(nn.Module):
    """The slice before."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 1:2]


@pytest.mark.parametrize(("frames", "before"), [(1, [0, 0, 1, 2, 3, 4]), (2, [0, 0, 1, 3, 3, 4])])
def test_a_student_is_shown_the_slices_beside(model: Model, frames: int, before: list[int]) -> None:
    seeing = make_config("fast", {"student": {"neighbours": 1}, "sigma": 0.1})
    shown = replace(model, rounds=(Round(None, Above()),), config=seeing)
    pixels = noisy_disks(slices=6)
    result = denoise_slices(shown, pixels, frames=frames).pixels
    limits = [(image.min(), image.max()) for image in pixels]
    expected = np.stack([pixels[number].clip(*limit) for number, limit in zip(before, limits, strict=True)])
    np.testing.assert_allclose(result, expected, atol=1e-5)
