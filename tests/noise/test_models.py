import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffdenoise.errors import ConfigError
from diffdenoise.noise.models import correlated, gamma, gaussian, poisson, rician

MODELS = {
    "gaussian": lambda image, g: gaussian(image, 0.1, g),
    "correlated": lambda image, g: correlated(image, 0.1, 1.2, g),
    "rician": lambda image, g: rician(image, 0.1, g),
    "poisson": lambda image, g: poisson(image, 300.0, g),
    "gamma": lambda image, g: gamma(image, 4.0, g),
}
model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _flat(value, shape=(4, 300, 300)):
    return torch.full(shape, value)


@model
@pytest.mark.parametrize("shape", [(9, 7), (1, 1), (2, 1, 8, 5), (0, 8, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shape_and_dtype_stay_and_the_image_is_not_touched(model, shape, dtype):
    image = torch.rand(shape, generator=_generator()).to(dtype)
    before = image.clone()
    noisy = model(image, _generator())
    assert noisy.shape == image.shape
    assert noisy.dtype == dtype
    assert torch.equal(image, before)


@model
def test_the_generator_alone_decides(model):
    image = torch.rand(16, 16, generator=_generator())
    torch.manual_seed(1)
    first = model(image, _generator(7))
    torch.manual_seed(2)
    assert torch.equal(first, model(image, _generator(7)))
    assert not torch.equal(first, model(image, _generator(8)))


@pytest.mark.parametrize("name", ["gaussian", "correlated", "poisson", "gamma"])
@pytest.mark.parametrize("value", [0.2, 1.0])
def test_mean_and_variance(name, value):
    variance = {"gaussian": 0.01, "correlated": 0.01, "poisson": value / 300, "gamma": value**2 / 4}[name]
    noisy = MODELS[name](_flat(value), _generator()).double()
    assert noisy.mean().item() == pytest.approx(value, abs=0.01)
    assert noisy.var().item() == pytest.approx(variance, rel=0.03)


def test_rician_moments():
    """E[m^2] = x^2 + 2 sigma^2 everywhere; in the background the mean is sigma sqrt(pi / 2)."""
    noisy = rician(_flat(0.3), 0.1, _generator()).double()
    assert noisy.square().mean().item() == pytest.approx(0.09 + 0.02, rel=0.01)
    background = rician(_flat(0.0), 0.1, _generator()).double()
    assert background.mean().item() == pytest.approx(0.1 * math.sqrt(math.pi / 2), rel=0.01)
    assert background.min() >= 0


@pytest.mark.parametrize(
    ("name", "low"), [("gaussian", True), ("correlated", True), ("poisson", False), ("gamma", False)]
)
def test_nothing_is_clipped(name, low):
    assert MODELS[name](_flat(1.0), _generator()).max() > 1.05
    if low:
        dark = MODELS[name](_flat(0.0), _generator())
        assert dark.min() < -0.2
        assert dark.mean().item() == pytest.approx(0, abs=2e-3)


@given(st.floats(0.8, 2.0), st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_correlation_follows_the_width(width, seed):
    noise = correlated(torch.zeros(4, 200, 200), 1.0, width, _generator(seed))
    assert noise.var().item() == pytest.approx(1, rel=0.1)
    for distance in (1, 3):
        expected = math.exp(-(distance**2) / (4 * width**2))
        along = (noise[:, :, distance:] * noise[:, :, :-distance]).mean().item()
        down = (noise[:, distance:] * noise[:, :-distance]).mean().item()
        assert along == pytest.approx(expected, abs=0.1)
        assert down == pytest.approx(expected, abs=0.1)


def test_narrow_noise_correlates_as_its_sampled_kernel():
    side = math.exp(-2)  # of a kernel of 0.5 px, one pixel from its centre
    noise = correlated(torch.zeros(4, 300, 300), 1.0, 0.5, _generator())
    assert (noise[:, :, 1:] * noise[:, :, :-1]).mean().item() == pytest.approx(2 * side / (1 + 2 * side**2), abs=0.01)


def test_correlated_noise_is_as_strong_at_the_borders_and_does_not_wrap_around():
    noise = correlated(torch.zeros(3000, 12, 12, dtype=torch.float64), 1.0, 1.2, _generator())
    assert noise[:, 0, 0].var().item() == pytest.approx(1, rel=0.1)
    assert (noise[:, 0] * noise[:, -1]).mean().item() == pytest.approx(0, abs=0.03)
    assert (noise[0::2] * noise[1::2]).mean().item() == pytest.approx(0, abs=0.02)  # images are independent


def test_width_zero_is_white_noise():
    image = torch.rand(3, 8, 8, generator=_generator())
    assert torch.allclose(correlated(image, 0.1, 0.0, _generator(1)), gaussian(image, 0.1, _generator(1)))


@given(st.floats(50, 700), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_poisson_counts_are_whole(lam, seed):
    counts = poisson(torch.rand(20, 20, dtype=torch.float64, generator=_generator(seed)), lam, _generator(seed)) * lam
    assert torch.allclose(counts, counts.round(), atol=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda image, g: gaussian(image, -0.1, g),
        lambda image, g: rician(image, -0.1, g),
        lambda image, g: correlated(image, 0.1, -1.0, g),
        lambda image, g: poisson(image, 0.0, g),
        lambda image, g: poisson(image - 1, 10.0, g),
        lambda image, g: gamma(image, 0.0, g),
    ],
)
def test_senseless_settings_are_named(call):
    with pytest.raises(ConfigError):
        call(torch.zeros(4, 4), _generator())
