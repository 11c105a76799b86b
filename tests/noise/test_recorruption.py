import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import avg_pool2d

from diffdenoise.noise.models import correlated
from diffdenoise.noise.recorruption import BRIGHTNESS, brightness, recorrupt
from diffdenoise.phantom import mni_slices

CLEAN = torch.from_numpy(mni_slices(60, 2, 10))[:, None]
WIDTHS, ALPHAS = st.sampled_from((0.0, 0.5, 1.2)), st.sampled_from((0.3, 0.5, 1.0))


def recorrupted(width: float, alpha: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The noises of `given` and `wanted`, for noise that grows with brightness."""
    deviation, generator = 0.05 + 0.1 * CLEAN, torch.Generator().manual_seed(seed)
    noise = deviation * correlated(torch.zeros_like(CLEAN), 1.0, width, generator)
    given, wanted = recorrupt(CLEAN + noise, deviation, width, alpha, generator)
    return given - CLEAN, wanted - CLEAN


@settings(max_examples=12, deadline=None)
@given(WIDTHS, ALPHAS, st.integers(0, 99))
def test_the_two_noises_do_not_correlate_at_any_distance(width: float, alpha: float, seed: int) -> None:
    given_, wanted = recorrupted(width, alpha, seed)
    scale = given_.std() * wanted.std()
    for shift in (0, 1, 2):
        together = (given_ * wanted.roll(shift, -1)).mean() / scale
        assert abs(together) < 0.02 * (1 + 2 * width)  # correlated noise has fewer independent samples


@settings(max_examples=9, deadline=None)
@given(WIDTHS, ALPHAS)
def test_noise_grows_as_stated(width: float, alpha: float) -> None:
    given_, wanted = recorrupted(width, alpha, 0)
    deviation = 0.05 + 0.1 * CLEAN
    assert (given_ / deviation).std() == pytest.approx((1 + alpha**2) ** 0.5, rel=0.05)
    assert (wanted / deviation).std() == pytest.approx((1 + alpha**-2) ** 0.5, rel=0.05)


@pytest.mark.parametrize("width", [0.0, 1.2])
def test_its_loss_ranks_denoisers_as_the_clean_image_would(width: float) -> None:
    given_, wanted = recorrupted(width, 0.5, 3)
    truth, by_loss = [], []
    for side in (1, 3, 5, 9):
        result = avg_pool2d(CLEAN + given_, side, 1, side // 2, count_include_pad=False)
        truth.append(((result - CLEAN) ** 2).mean())
        by_loss.append(((result - CLEAN - wanted) ** 2).mean())
    differences = [torch.tensor(values).diff() for values in (truth, by_loss)]
    assert differences[1] == pytest.approx(differences[0], rel=0.1, abs=3e-4)


def test_brightness_is_a_local_mean() -> None:
    image = torch.rand(2, 1, 20, 24)
    found = brightness(image)
    assert found.shape == image.shape
    assert found[1, 0, 10, 10] == pytest.approx(float(image[1, 0, 8:13, 8:13].mean()), rel=1e-5)
    assert brightness(torch.ones(1, 1, 16, 16)) == pytest.approx(torch.ones(1, 1, 16, 16))
    assert BRIGHTNESS % 2 == 1
