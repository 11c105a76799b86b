import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.noises import NOISES


@pytest.mark.parametrize("name", NOISES)
@settings(max_examples=5)
@given(brightness=st.floats(0.05, 1))
def test_the_stated_mean_and_deviation_are_those_of_the_noise(name: str, brightness: float) -> None:
    clean = np.full((4, 128, 128), brightness, np.float32)
    noisy, noise = NOISES[name].add(clean, seed=1), NOISES[name]
    assert float(noisy.mean()) == pytest.approx(float(noise.mean(clean).mean()), abs=0.03 * float(noisy.std()))
    # correlated pixels are worth fewer independent ones
    assert float(noisy.std()) == pytest.approx(
        float(np.square(noise.deviation(clean)).mean() ** 0.5), rel=0.06 if noise.width else 0.02
    )


@pytest.mark.parametrize("name", NOISES)
def test_noise_is_a_function_of_its_seed(name: str) -> None:
    clean = np.full((1, 32, 32), 0.5, np.float32)
    assert np.array_equal(NOISES[name].add(clean, 3), NOISES[name].add(clean, 3))
    assert not np.array_equal(NOISES[name].add(clean, 3), NOISES[name].add(clean, 4))


@pytest.mark.parametrize(
    "name", ["gaussian-25", "correlated-0.5", "correlated-1.2", "zero-filled-0.5", "zero-filled-rician-15"]
)
def test_the_kernel_makes_the_noise(name: str) -> None:
    noise = NOISES[name]
    kernel = noise.kernel()
    assert np.square(kernel).sum() == pytest.approx(noise.strength**2)
    shifted = (kernel[:, 1:] * kernel[:, :-1]).sum() / np.square(kernel).sum()
    added = noise.add(np.ones((1, 256, 256), np.float32), 0)[0]
    assert np.corrcoef(added[:, 1:].ravel(), added[:, :-1].ravel())[0, 1] == pytest.approx(shifted, abs=0.02)
