import torch
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise.diffusion.fusion import bounded, fuse, gain, recalibrate

variances = st.floats(1e-4, 10)


@given(v=variances, s2=variances)
def test_gain_is_bayes_rule(v: float, s2: float) -> None:
    got = gain(torch.tensor(v + s2, dtype=torch.float64), s2)
    torch.testing.assert_close(got, torch.tensor(v / (v + s2), dtype=torch.float64))


@given(v_total=variances, s2=variances)
def test_the_result_lies_between_estimate_and_measurement(v_total: float, s2: float) -> None:
    x_blind, x_noisy = torch.tensor(1.0), torch.tensor(3.0)
    assert 1.0 <= fuse(x_blind, x_noisy, torch.tensor(v_total), s2) <= 3.0


def test_fusion_keeps_the_share_of_the_noise_that_theory_asks_for() -> None:
    """For independent errors: MSE = v s2 / (v + s2) = noise kept * s2, and no other weight does better."""
    torch.manual_seed(0)
    v, s2 = 0.3, 1.0
    x = torch.zeros(200_000)
    x_blind, noise = x + v**0.5 * torch.randn_like(x), s2**0.5 * torch.randn_like(x)
    fused = fuse(x_blind, x + noise, torch.full_like(x, v + s2), s2)
    mse = (fused - x).square().mean()
    kept = (fused * noise).mean() / noise.square().mean()
    expected = v * s2 / (v + s2)
    assert abs(mse - expected) < 0.01 * expected
    assert abs(kept * s2 - expected) < 0.02 * expected


def test_without_noise_the_measurement_is_kept_and_without_error_the_estimate() -> None:
    x_blind, x_noisy, v_total = torch.zeros(3), torch.ones(3), torch.full((3,), 0.5)
    assert torch.equal(fuse(x_blind, x_noisy, v_total, 0.0), x_noisy)
    assert torch.equal(fuse(x_blind, x_noisy, v_total, 0.5), x_blind)
    assert torch.equal(fuse(x_blind, x_noisy, v_total, 9.0), x_blind)


def test_recalibration_follows_the_better_estimate() -> None:
    torch.manual_seed(1)
    s2 = 0.01
    noise = lambda v: v**0.5 * torch.randn(2, 1, 200, 200)  # noqa: E731
    x_noisy, x_c, better = noise(s2), noise(0.03), noise(0.01)
    v_total = torch.full_like(x_c, 0.03 + s2)
    got = recalibrate(v_total, x_c, better, x_noisy)
    torch.testing.assert_close(got, torch.full_like(got, 0.01 + s2), rtol=0.05, atol=0)
    torch.testing.assert_close(recalibrate(v_total, x_c, x_c, x_noisy), v_total)


def test_a_mask_without_noise_does_not_decide_the_recalibration() -> None:
    torch.manual_seed(1)
    x_c, x_noisy = 0.1 * torch.randn(1, 1, 100, 100), 0.1 * torch.randn(1, 1, 100, 100)
    v_total, mask = torch.full_like(x_c, 0.02), torch.zeros_like(x_c, dtype=torch.bool)
    mask[..., 50:] = True
    for image, value in ((x_c, 1e-3), (x_noisy, 0.0), (v_total, 1e-6)):
        image[mask] = value
    x_hat = x_c + 4e-3 * torch.randn(x_c.shape)  # a residue of the chain, everywhere
    factor = recalibrate(v_total, x_c, x_hat, x_noisy, (~mask).float()) / v_total
    torch.testing.assert_close(factor, torch.ones_like(factor), rtol=0.02, atol=0)
    unchanged = recalibrate(v_total, x_c, x_hat, x_noisy, torch.zeros_like(x_c))
    torch.testing.assert_close(unchanged, v_total)


def prediction(v_rough: float, s2: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(v_total, brightness) of two images, a half of each predicted perfectly, in all shades."""
    torch.manual_seed(0)
    brightness = torch.rand(2, 1, 100, 120)
    rough = torch.rand_like(brightness) < 0.5
    return torch.where(rough, v_rough + s2, s2), brightness


@given(s2=st.floats(0.01, 1), factor=st.floats(0.3, 5))
def test_a_level_that_is_too_high_is_brought_down_to_what_can_be_noise(s2: float, factor: float) -> None:
    v_total, brightness = prediction(1.0, s2)
    got = bounded(torch.full_like(v_total, factor * s2), v_total, brightness)
    torch.testing.assert_close(got, torch.full_like(got, min(factor, 1.0) * s2))


def test_the_bound_follows_the_brightness() -> None:
    _, brightness = prediction(1.0, 0.1)
    v_total = 0.1 + brightness  # noise that grows with the signal
    got = bounded(torch.full_like(v_total, 9.0), v_total, brightness)
    assert ((got - v_total).abs() < 0.1).all()


def test_an_image_is_bounded_by_itself_alone() -> None:
    v_total, brightness = prediction(1.0, 0.1)
    v_total[1] *= 3
    s2 = torch.full_like(v_total, 9.0)
    together = bounded(s2, v_total, brightness)
    alone = [bounded(s2[n : n + 1], v_total[n : n + 1], brightness[n : n + 1]) for n in range(2)]
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(s2, torch.full_like(s2, 9.0))
