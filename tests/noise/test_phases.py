from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from diffdenoise.noise.estimate import NoiseLevel, constant_level
from diffdenoise.noise.phases import kernel, noise_like, phases_of
from diffdenoise.noise.recorruption import brightness, draw_like
from diffdenoise.noise.rician import moments
from diffdenoise.noise.texture import Texture, draw, smoothed
from diffdenoise.noise.trend import rician_level

BAND = Texture(("band", 0.5), ("band", 0.5))
SHAPE = (8, 1, 160, 160)


def complex_noise(texture: Texture, seed: int = 0) -> Tensor:
    """Larger than an image of 128 x 128 pixels, from whose edges it does not go on at the far ones."""
    generator = torch.Generator().manual_seed(seed)
    return torch.complex(draw(SHAPE, texture, generator), draw(SHAPE, texture, generator))[..., 16:144, 16:144]


def level_of(texture: Texture) -> NoiseLevel:
    return rician_level(1.0, replace(constant_level(1.0), texture=texture, reach=2))


def turns(phases: Tensor, by: int) -> np.ndarray:
    """Cosines of the angles between pixels so far apart."""
    return (phases[..., by:].conj() * phases[..., :-by]).real.numpy().ravel()


@pytest.mark.parametrize("signal", [0.0, 1.5])
def test_phases_turn_where_those_that_were_lost_did(signal: float) -> None:
    image = signal + complex_noise(BAND)
    magnitude, there = image.abs(), torch.full(image.shape, signal)
    generator = torch.Generator().manual_seed(1)
    found, drawn = (phases_of(magnitude, there, BAND, generator, times) for times in (30, 0))
    np.testing.assert_allclose(found.abs(), 1, atol=1e-4)
    lost = image / magnitude
    for by in (1, 2):
        assert np.corrcoef(turns(found, by), turns(lost, by))[0, 1] > 0.35
        assert abs(np.corrcoef(turns(drawn, by), turns(lost, by))[0, 1]) < 0.05


def test_where_there_is_signal_the_phase_is_its_own_and_noise_that_of_a_channel() -> None:
    noisy, level = (20 + complex_noise(smoothed(1.2))).abs(), level_of(smoothed(1.2))
    z = noise_like(noisy, level, level.texture, torch.Generator().manual_seed(1))
    channel = draw(tuple(noisy.shape), level.texture, torch.Generator().manual_seed(2))
    assert float(z.std()) == pytest.approx(1, rel=0.05)
    beside = lambda x: float((x[..., 1:] * x[..., :-1]).mean() / x.square().mean())  # noqa: E731
    assert beside(z) == pytest.approx(beside(channel), abs=0.03)


@pytest.mark.parametrize("signal", [0.0, 1.0, 3.0])
def test_the_kernel_is_the_variance_on_the_mean(signal: float) -> None:
    """Stein's identity with f(M) = M, white noise: no other pixel has a say."""
    noise = torch.complex(*torch.randn(2, 200_000, generator=torch.Generator().manual_seed(0)))
    k = kernel(torch.full(noise.shape, signal), noise)
    assert float(k.min()) >= 0
    assert float(k.max()) <= 1 + 1e-5
    deviation = np.interp(signal, moments().signal, moments().deviation)
    assert float(k.mean()) == pytest.approx(deviation**2, rel=0.01)


def lowest(around: int) -> Callable[[Tensor], Tensor]:
    """A smooth minimum over so many pixels: it sees the places where a magnitude vanishes."""

    def found(x: Tensor) -> Tensor:
        beside = pad(torch.exp(-4 * x), 4 * [around // 2], mode="reflect")
        return -torch.log(avg_pool2d(beside, around, 1)) / 4

    return found


@pytest.mark.parametrize("around", [3, 5])
def test_in_the_dark_it_tells_what_a_denoiser_lets_through_better_than_noise_of_their_covariance(around: int) -> None:
    """E[m f(M)] = E[z f'(z)], for an f that noise drawn without knowing the magnitudes takes for a worse denoiser."""
    magnitude, level, f = complex_noise(BAND).abs(), level_of(BAND), lowest(around)
    generator = torch.Generator().manual_seed(1)
    around_each = brightness(magnitude).numpy()
    dark = torch.from_numpy(level.dark_at(around_each))
    deviation = torch.from_numpy(level.variance(around_each)).sqrt()
    by_phases = noise_like(magnitude, level, BAND, generator)
    by_covariance = draw_like(deviation, BAND, generator, dark)
    true = float(((magnitude - magnitude.mean()) * f(magnitude)).mean())
    through = [
        float((z * (f(magnitude + 0.05 * z) - f(magnitude - 0.05 * z))).mean() / 0.1)
        for z in (by_phases, by_covariance)
    ]
    off = [abs(one - true) for one in through]
    assert off[0] < 0.4 * off[1]


def test_it_follows_the_unit_the_strength_and_the_scale() -> None:
    noise, level = complex_noise(BAND), level_of(BAND)
    there = replace(level, **{name: tuple(0.1 * v for v in getattr(level, name)) for name in ("knots", "sigma")})
    shifted = replace(there, knots=tuple(knot - 0.3 for knot in there.knots))
    z = [
        noise_like(image, of, BAND, torch.Generator().manual_seed(1), over)
        for image, of, over in (
            (noise.abs(), level, 1.0),
            (0.1 * noise.abs() - 0.3, shifted, 1.0),
            (2 * noise.abs(), level, 2.0),
        )
    ]
    torch.testing.assert_close(z[1], 0.1 * z[0], atol=2e-3, rtol=0.05)
    assert float(z[2].std()) == pytest.approx(2 * float(z[0].std()), rel=1e-3)


def test_masks_hold_none_and_white_noise_is_drawn_as_the_pixels_show_it() -> None:
    noisy = complex_noise(BAND).abs()
    noisy[..., :40] = 0
    z = noise_like(noisy, level_of(BAND), BAND, torch.Generator().manual_seed(1))
    assert (z[..., :38] == 0).all()
    white = rician_level(1.0, constant_level(1.0))
    image = (1 + complex_noise(smoothed(0.0))).abs()
    variance = torch.from_numpy(white.variance_of(image.numpy(), brightness(image).numpy()))
    expected = draw_like(variance.sqrt(), white.texture, torch.Generator().manual_seed(3))
    torch.testing.assert_close(noise_like(image, white, white.texture, torch.Generator().manual_seed(3)), expected)
