import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffdenoise.diffusion.sampling import ddim, ddim_step, image_noise, srds
from diffdenoise.diffusion.schedule import Prediction, Schedule, make_schedule, target, trailing_steps
from diffdenoise.networks.unet import ConditionalUNet

ABAR = make_schedule("cosine")


def oracle(x_0: Tensor, prediction: str):
    """The network that knows x_0: what an ideal one predicts when x_0 has no spread."""

    def network(x_t: Tensor, t: Tensor) -> Tensor:
        abar_t = ABAR[t][:, None, None, None].to(x_t)
        eps = (x_t - abar_t.sqrt() * x_0) / (1 - abar_t).sqrt()
        return target(prediction, x_0, eps, abar_t)  # type: ignore[arg-type]

    return network


def bound(seed: int):
    torch.manual_seed(seed)
    unet = ConditionalUNet(widths=(8, 8)).eval()
    for parameter in unet.parameters():
        parameter.data *= 2
    torch.nn.init.normal_(unet.tail.weight, std=0.1)

    def network(x_t: Tensor, t: Tensor) -> Tensor:
        condition = torch.zeros_like(x_t) + torch.linspace(0, 1, x_t.shape[-1])
        with torch.no_grad():
            return unet(x_t, condition, t)

    return network


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
@settings(deadline=None, max_examples=10)
@given(steps=st.sampled_from([1, 2, 5, 10, 50]), seed=st.integers(0, 1000))
def test_an_oracle_gives_x_0_back(prediction: str, steps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x_0, eps = torch.randn(2, 3, 1, 6, 5, generator=generator, dtype=torch.float64)
    mean, spread = srds(oracle(x_0, prediction), eps, ABAR, steps, prediction)  # type: ignore[arg-type]
    torch.testing.assert_close(mean, x_0, rtol=1e-4, atol=1e-4)
    assert spread.abs().max() < 1e-3


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_swapping_the_signs_changes_nothing_but_the_spreads_sign(steps: int) -> None:
    network, eps = bound(0), image_noise([1, 2], (1, 8, 8))
    mean, spread = srds(network, eps, ABAR, steps)
    swapped_mean, swapped_spread = srds(network, -eps, ABAR, steps)
    assert torch.equal(mean, swapped_mean)
    assert torch.equal(spread, -swapped_spread)
    assert spread.abs().max() > 1e-3


def test_batch_and_order_do_not_matter() -> None:
    network, seeds = bound(1), [5, 6, 7, 8]
    together, _ = srds(network, image_noise(seeds, (1, 16, 16)), ABAR, 5)
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        alone = torch.cat([srds(network, image_noise([seeds[i]], (1, 16, 16)), ABAR, 5)[0] for i in order])
        torch.testing.assert_close(alone, together[order], rtol=1e-4, atol=1e-5)


def test_in_a_gaussian_model_the_pair_cancels_the_noise_exactly() -> None:
    """x_0 ~ N(m, s^2) per pixel: the ideal network is affine in x_t, so the pair's mean is m, a single chain is not."""
    m, s = 0.7, 0.5

    def ideal(x_t: Tensor, t: Tensor) -> Tensor:
        abar_t = ABAR[t][:, None, None, None].to(x_t)
        gain = abar_t.sqrt() * s**2 / (abar_t * s**2 + 1 - abar_t)
        return m + gain * (x_t - abar_t.sqrt() * m)

    eps = image_noise([0], (1, 32, 32)).double()
    mean, spread = srds(ideal, eps, ABAR, 20, "x0")
    torch.testing.assert_close(mean, torch.full_like(mean, m), rtol=0, atol=1e-4)  # abar_T is not quite 0
    assert 0.3 * s < spread.std() < s


def test_noise_belongs_to_the_image() -> None:
    both = image_noise([3, 4], (1, 5, 5))
    assert torch.equal(both[1:], image_noise([4], (1, 5, 5)))
    assert not torch.equal(both[0], both[1])
    noise = image_noise([9], (1, 200, 200))
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02


@pytest.mark.parametrize(("prediction", "theirs"), [("eps", "epsilon"), ("v", "v_prediction"), ("x0", "sample")])
def test_monais_ddim_is_an_oracle(prediction: str, theirs: str) -> None:
    from monai.networks.schedulers import DDIMScheduler

    scheduler = DDIMScheduler(
        1000, schedule="linear_beta", beta_start=1e-4, beta_end=0.02, clip_sample=False, prediction_type=theirs
    )
    scheduler.set_timesteps(10)
    times = trailing_steps(1000, 10)  # MONAI's step goes from t to t - 100, though its own times lie 111 apart
    abar = torch.cat([make_schedule("linear"), torch.ones(1, dtype=torch.float64)])
    x_t, output = torch.randn(2, 1, 1, 8, 8)
    for t, t_next in zip(times, [*times[1:], -1], strict=True):
        expected, _ = scheduler.step(output, t, x_t)
        got = ddim_step(x_t, output, abar[t].float(), abar[t_next].float(), prediction)  # type: ignore[arg-type]
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("prediction", "theirs"), [("eps", "epsilon"), ("v", "v_prediction"), ("x0", "sample")])
@pytest.mark.parametrize(("schedule", "betas"), [("cosine", "squaredcos_cap_v2"), ("linear", "linear")])
@pytest.mark.parametrize("steps", [1, 10, 50])
def test_diffusers_whole_chain_is_an_oracle(
    prediction: Prediction, theirs: str, schedule: Schedule, betas: str, steps: int
) -> None:
    from diffusers import DDIMScheduler

    options = {"clip_sample": False, "timestep_spacing": "trailing", "set_alpha_to_one": True}
    scheduler = DDIMScheduler(1000, 1e-4, 0.02, betas, prediction_type=theirs, **options)
    scheduler.set_timesteps(steps)
    assert scheduler.timesteps.tolist() == trailing_steps(1000, steps)
    torch.testing.assert_close(scheduler.alphas_cumprod.double(), make_schedule(schedule), rtol=1e-4, atol=1e-9)

    def network(x_t: Tensor, t: Tensor) -> Tensor:
        return 0.3 * x_t + 0.1 * torch.sin(3 * x_t + t[:, None, None, None] / 1000)

    eps = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = eps
    for t in scheduler.timesteps:
        expected = scheduler.step(network(expected, t.repeat(2)), t, expected).prev_sample
    got = ddim(network, eps, scheduler.alphas_cumprod, steps, prediction)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())
