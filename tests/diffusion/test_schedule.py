from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise.diffusion.schedule import diffuse, make_schedule, split, target, trailing_steps


@pytest.mark.parametrize("name", ["cosine", "linear"])
@pytest.mark.parametrize("timesteps", [10, 100, 1000])
def test_abar_falls_from_almost_one_to_almost_zero(name: str, timesteps: int) -> None:
    abar = make_schedule(name, timesteps)  # type: ignore[arg-type]
    assert abar.shape == (timesteps,)
    assert (abar.diff() < 0).all()
    assert abar[0] > 0.95
    assert 0 < abar[-1] < 1e-3


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
@given(abar=st.floats(0.01, 0.99), seed=st.integers(0, 100))
def test_the_target_splits_into_what_it_was_made_of(prediction: str, abar: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x_0, eps = torch.randn(2, 1, 1, 4, 4, generator=generator, dtype=torch.float64)
    abar_t = torch.tensor(abar, dtype=torch.float64)
    wanted = target(prediction, x_0, eps, abar_t)  # type: ignore[arg-type]
    got = split(prediction, wanted, diffuse(x_0, eps, abar_t), abar_t)  # type: ignore[arg-type]
    torch.testing.assert_close(got[0], x_0)
    torch.testing.assert_close(got[1], eps)


@given(st.integers(1, 1000), st.data())
def test_trailing_steps_start_at_pure_noise_and_fall(timesteps: int, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, timesteps))
    times = trailing_steps(timesteps, steps)
    assert len(times) == steps
    assert times[0] == timesteps - 1
    assert times[-1] >= 0
    assert all(later < earlier for earlier, later in pairwise(times))


@pytest.mark.parametrize("steps", [0, 1001])
def test_an_impossible_number_of_steps_is_refused(steps: int) -> None:
    with pytest.raises(ValueError, match="steps"):
        trailing_steps(1000, steps)


def test_monai_is_an_oracle_of_both_schedules() -> None:
    from monai.networks.schedulers import DDIMScheduler

    linear = DDIMScheduler(1000, schedule="linear_beta", beta_start=1e-4, beta_end=0.02)
    torch.testing.assert_close(make_schedule("linear").float(), linear.alphas_cumprod, rtol=1e-4, atol=1e-6)
