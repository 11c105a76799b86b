from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise.model import Model
from diffdenoise.model_file import load_model
from diffdenoise.noise.estimate import NoiseLevel, constant_level
from diffdenoise.noise.spatial import Variation
from diffdenoise.presets import make_config
from diffdenoise.rounds import (
    Images,
    Sampled,
    feed_back,
    image_seed,
    images_of_round,
    predict_blind,
    put_back,
    sample,
    sample_slice,
    variance_map,
    why_not_to_fuse,
)
from tests.conftest import noisy_disks


@pytest.fixture(scope="module")
def model(smoke_model: Path) -> Model:
    return load_model(smoke_model)


def test_the_trained_condition_is_blind(model: Model) -> None:
    x = torch.rand(1, 1, 30, 30)
    changed = x.clone()
    changed[0, 0, 11, 12] = 100
    before, after = predict_blind(model.blind_spot, x)[0], predict_blind(model.blind_spot, changed)[0]
    assert before[0, 0, 11, 12] == after[0, 0, 11, 12]
    assert not torch.equal(before, after)


def test_the_noise_of_an_image_comes_from_its_content_and_the_seed() -> None:
    image = np.random.default_rng(0).random((5, 5))
    assert image_seed(0, image) == image_seed(0, image.copy())
    assert len({image_seed(0, image), image_seed(1, image), image_seed(0, image + 1)}) == 3


def test_several_pairs_average_and_their_spreads_do_not_cancel(model: Model) -> None:
    x_noisy = torch.from_numpy(noisy_disks(slices=1))[None]
    x_c, v_total = predict_blind(model.blind_spot, x_noisy)
    images = Images(x_noisy, x_c, v_total, x_c)

    def sampled(pairs: int, seed: int) -> Sampled:
        teacher = model.config.teacher.model_copy(update={"pairs": pairs})
        s2 = torch.full_like(x_c, 0.0025)
        return sample(model.rounds[0].diffusion, model.config.diffusion, teacher, model.chain, images, s2, [seed])

    first, second, both = sampled(1, 5), sampled(1, 6), sampled(2, 5)
    torch.testing.assert_close(both.x_hat, (first.x_hat + second.x_hat) / 2)
    torch.testing.assert_close(both.spread, ((first.spread**2 + second.spread**2) / 2).sqrt())
    torch.testing.assert_close((both.chain - first.x_hat).abs(), first.spread, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def in_rounds(model: Model) -> Model:
    """The smoke model's networks used for three rounds."""
    return replace(model, rounds=3 * model.rounds)


@pytest.mark.parametrize("feedback", ["student", "x_hat", "fused"])
def test_the_chosen_output_of_a_round_is_the_next_ones_condition(in_rounds: Model, feedback: str) -> None:
    config = in_rounds.config.model_copy(update={"feedback": feedback})
    model = replace(in_rounds, config=config)
    x_noisy, level = torch.from_numpy(noisy_disks(slices=1))[None], constant_level(0.05)
    first = sample_slice(model, x_noisy, level, [3], number=1)
    with torch.no_grad():
        expected = model.student(x_noisy) if feedback == "student" else getattr(first, feedback)
    images = images_of_round(model, x_noisy, level, [3], 2)
    assert torch.equal(images.condition, expected)
    assert torch.equal(images.x_c, predict_blind(model.blind_spot, x_noisy)[0])
    assert torch.equal(feed_back(model, x_noisy, level, [3], 1), expected)


@pytest.mark.parametrize(("feedback", "again"), [("student", False), ("x_hat", True), ("fused", False)])
def test_an_estimate_that_knows_its_own_pixel_is_not_fused_again(in_rounds: Model, feedback: str, again: bool) -> None:
    model = replace(in_rounds, config=in_rounds.config.model_copy(update={"feedback": feedback}))
    x_noisy, level = torch.from_numpy(noisy_disks(slices=1))[None], constant_level(0.05)
    for number, fused in ((1, True), (2, again), (3, again)):
        sampled = sample_slice(model, x_noisy, level, [3], number)
        assert torch.equal(sampled.fused, sampled.x_hat) != fused


def test_the_level_is_bounded_on_demand_alone(model: Model) -> None:
    x_noisy = torch.from_numpy(noisy_disks())[:, None]
    images = images_of_round(model, x_noisy, constant_level(0.05), [0] * len(x_noisy), 1)
    much = torch.full_like(x_noisy, 9.0)
    assert torch.equal(put_back(images.x_c, images, much), images.x_c)
    assert not torch.equal(put_back(images.x_c, images, much, bound_level=True), images.x_c)


@pytest.mark.parametrize(
    ("preset", "settings", "said"),
    [
        ("cpu", {}, None),
        ("cpu", {"diffusion": {"leak": "masked"}}, None),
        ("cpu", {"diffusion": {"leak": "open"}}, "diffusion.leak"),
        ("cpu", {"diffusion": {"leak": "damped"}}, "diffusion.leak"),
        ("cpu", {"diffusion": {"leak": "open"}, "teacher": {"fuse": False}}, None),
        ("cpu", {"blind_spot": {"network": "puca", "pooling": "global"}}, "blind_spot.pooling"),
        ("paper", {}, None),
        ("paper", {"blind_spot": {"pooling": "global"}}, None),
        ("fast", {"diffusion": {"leak": "open"}}, None),
    ],
)
def test_fusing_what_is_not_blind_is_warned_of(preset: str, settings: dict, said: str | None) -> None:
    warning = why_not_to_fuse(make_config(preset, settings))
    assert (warning is None) == (said is None)
    assert warning is None or (said in warning and "teacher.fuse = false" in warning)


@given(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4), st.integers(1, 40))
def test_the_variance_is_that_of_the_brightness_and_the_place(down: float, across: float, rows: int) -> None:
    variation = Variation(((0.0, across), (down, 0.0)), 0.3, 3.0)
    level = NoiseLevel((0.0, 1.0), (0.05, 0.1), variation=variation)
    dark, bright = variance_map(level, torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 1, rows, 30))
    over = variation.over((rows, 30))
    np.testing.assert_allclose(dark[0], 0.05**2 * over**2, rtol=1e-5)
    np.testing.assert_allclose(bright[0], 0.1**2 * over**2, rtol=1e-5)
