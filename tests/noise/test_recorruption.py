import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import avg_pool2d

from diffdenoise.noise.estimate import constant_level
from diffdenoise.noise.looked import CONSTANT
from diffdenoise.noise.recorruption import BRIGHTNESS, alive, brightness, draw_like, let_through, recorrupt
from diffdenoise.noise.rician import moments
from diffdenoise.noise.texture import draw, smoothed
from diffdenoise.noise.trend import rician_level
from diffdenoise.phantom import mni_slices

CLEAN = torch.from_numpy(mni_slices(60, 2, 10))[:, None]
DEVIATION = 0.05 + 0.1 * CLEAN  # noise that grows with brightness
WIDTHS = st.sampled_from((0.0, 0.5, 1.2))
ALPHAS = st.sampled_from((0.2, 0.5, 1.0))


def noises(width: float, alpha: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Those of `given` and `wanted`."""
    generator = torch.Generator().manual_seed(seed)
    noise, z = (draw_like(DEVIATION, smoothed(width), generator) for _ in range(2))
    images = recorrupt(CLEAN + noise, z, alpha)
    return images[0] - CLEAN, images[1] - CLEAN


@settings(max_examples=12, deadline=None)
@given(WIDTHS, ALPHAS, st.integers(0, 99))
def test_the_two_noises_do_not_correlate_at_any_distance(width: float, alpha: float, seed: int) -> None:
    of_given, of_wanted = noises(width, alpha, seed)
    scale = of_given.std() * of_wanted.std()
    for shift in (0, 1, 2):
        together = (of_given * of_wanted.roll(shift, -1)).mean() / scale
        assert abs(together) < 0.02 * (1 + 2 * width)  # correlated noise has fewer independent samples


@settings(max_examples=9, deadline=None)
@given(WIDTHS, ALPHAS)
def test_noise_grows_as_stated(width: float, alpha: float) -> None:
    of_given, of_wanted = noises(width, alpha, 0)
    assert (of_given / DEVIATION).std() == pytest.approx((1 + alpha**2) ** 0.5, rel=0.05)
    assert (of_wanted / DEVIATION).std() == pytest.approx((1 + alpha**-2) ** 0.5, rel=0.05)


@pytest.mark.parametrize("width", [0.0, 1.2])
def test_its_loss_ranks_denoisers_as_the_clean_image_would(width: float) -> None:
    of_given, of_wanted = noises(width, 0.5, 3)
    truth, by_loss = [], []
    for side in (1, 3, 5, 9):
        result = avg_pool2d(CLEAN + of_given, side, 1, side // 2, count_include_pad=False)
        truth.append(((result - CLEAN) ** 2).mean())
        by_loss.append(((result - CLEAN - of_wanted) ** 2).mean())
    differences = [torch.tensor(values).diff() for values in (truth, by_loss)]
    assert differences[1] == pytest.approx(differences[0], rel=0.1, abs=3e-4)


@given(st.floats(-0.5, 1.5), ALPHAS, WIDTHS)
def test_what_is_let_through_is_a_share_of_the_noise(share: float, alpha: float, width: float) -> None:
    z = draw_like(DEVIATION, smoothed(width), torch.Generator().manual_seed(1))
    denoiser = lambda x: (1 - share) * CLEAN + share * x  # noqa: E731
    found = let_through(denoiser(CLEAN + alpha * z), denoiser(CLEAN - alpha * z), z, alpha, 32)
    assert found == pytest.approx(share * avg_pool2d(z * z, 32), abs=1e-5)
    assert let_through(z, z, z, alpha, 32).abs().max() == 0
    assert let_through(z[..., :9, :7], z[..., :9, :7], z[..., :9, :7], alpha, 32).shape == (2, 1, 1, 1)


def test_a_mask_is_not_alive_and_noise_is() -> None:
    image = torch.rand(2, 1, 40, 48)
    assert alive(image).all()
    image[0, 0, :20] = 0
    image[1, 0, 5:9, 5:9] = 0  # smaller than what counts as a mask
    found = alive(image)
    assert not found[0, 0, :20].any()
    assert found[0, 0, 20:].all()
    assert found[1].all()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_what_is_not_alive_is_in_a_square_of_one_value(rows: int, columns: int, seed: int) -> None:
    """By its plain definition, squares cut at the border."""
    image = torch.randint(0, 2, (1, 1, rows, columns), generator=torch.Generator().manual_seed(seed)).float()
    image[..., : seed % 9, : seed % 7] = 1
    half, dead = CONSTANT // 2, torch.zeros(rows, columns)
    for row, column in np.ndindex(rows, columns):
        down, across = (slice(max(0, at - half), at + half + 1) for at in (row, column))
        if len(image[0, 0, down, across].unique()) == 1:
            dead[down, across] = 1
    assert torch.equal(alive(image)[0, 0], 1 - dead)


def test_brightness_is_a_local_mean() -> None:
    image = torch.rand(2, 1, 20, 24)
    found = brightness(image)
    assert found.shape == image.shape
    half = BRIGHTNESS // 2
    around = image[1, 0, 10 - half : 11 + half, 10 - half : 11 + half]
    assert found[1, 0, 10, 10] == pytest.approx(float(around.mean()), rel=1e-5)
    assert brightness(torch.ones(1, 1, 16, 16)) == pytest.approx(torch.ones(1, 1, 16, 16))
    assert BRIGHTNESS % 2 == 1


@pytest.mark.parametrize("signal", [0.0, 1.0, 5.0])
def test_noise_drawn_like_magnitudes_correlates_as_they_do(signal: float) -> None:
    """Squares of correlated fields correlate over shorter ways: what is drawn by their texture alone is too smooth."""
    generator, texture = torch.Generator().manual_seed(0), smoothed(1.2)
    real, imaginary = (draw((8, 1, 256, 256), texture, generator) for _ in range(2))
    magnitudes = torch.hypot(signal + real, imaginary) - torch.hypot(signal + real, imaginary).mean()
    level = rician_level(1.0, constant_level(1.0))
    dark = torch.from_numpy(level.dark_at(np.full(magnitudes.shape, np.interp(signal, *moments()[:2]))))
    drawn, smooth = (draw_like(torch.ones_like(dark), texture, generator, of) for of in (dark, None))

    def beside(x: torch.Tensor, by: int) -> float:
        return float((x[..., by:] * x[..., :-by]).mean() / x.square().mean())

    for by in (1, 2, 3):
        assert beside(drawn, by) == pytest.approx(beside(magnitudes, by), abs=0.03)
    assert (beside(smooth, 2) > beside(magnitudes, 2) + 0.05) == (signal < 5)
