"""The texture of noise: drawn as its spectrum says, and found again on anatomy."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffdenoise.noise.estimate import estimate_noise
from diffdenoise.noise.looked import look
from diffdenoise.noise.models import correlated, rician
from diffdenoise.noise.texture import (
    LONGEST,
    WHITE,
    Machine,
    Texture,
    correlation,
    differences_of,
    draw,
    may_come_from,
    power,
    shared_textures,
    smoothed,
    texture_of,
)
from diffdenoise.phantom import mni_slices

ZERO_FILLED = Texture(("band", 0.5), ("band", 0.5))
ONE_WAY = Texture(("smoothed", 0.0), ("band", 0.5))
FILTERED = Texture(radial=(0.45, 0.04))
CT = Texture(radial=(0.3, 2.0, 0.0))
SMOOTHED = smoothed(0.8)
BOTH = {
    **{"zero-filled": ZERO_FILLED, "zero-filled one way": ONE_WAY, "filtered": FILTERED},
    **{"CT": CT, "smoothed": SMOOTHED},
}

profiles = st.one_of(st.tuples(st.just("smoothed"), st.floats(0, 2)), st.tuples(st.just("band"), st.floats(0.25, 0.95)))
textures = st.one_of(
    st.builds(Texture, profiles, profiles, grain=st.floats(0, 0.2)),
    st.builds(lambda cut: Texture(radial=(cut,)), st.floats(0.15, 0.5)),
    st.builds(lambda *values: Texture(radial=values), st.floats(0.2, 0.7), st.floats(0.03, 0.08)),
    st.builds(lambda *values: Texture(radial=values), st.floats(0.15, 0.6), st.floats(1.5, 4), st.floats(0, 0.1)),
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=20, deadline=None)
@given(textures)
def test_noise_correlates_as_its_spectrum_says_up_to_the_borders(texture: Texture) -> None:
    noise = draw((40, 120, 90), texture, seeded(0)).numpy()
    rho = correlation(texture)
    assert rho[0, 0] == pytest.approx(1, abs=1e-9)
    for down, across in ((0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (0, 3)):
        product = noise[:, down:, across:] * noise[:, : noise.shape[1] - down, : noise.shape[2] - across]
        assert product.mean() == pytest.approx(rho[down, across], abs=0.03)
    edges = np.concatenate([noise[:, 0].ravel(), noise[:, -1].ravel(), noise[:, :, 0].ravel(), noise[:, :, -1].ravel()])
    assert edges.std() == pytest.approx(1, abs=0.06)
    assert abs((noise[:, 0] * noise[:, -1]).mean()) < 0.08  # nothing wraps around


@given(textures, st.sampled_from([(8, 8), (33, 20), (64, 64)]))
def test_a_spectrum_is_positive_even_and_of_mean_one(texture: Texture, size: tuple[int, int]) -> None:
    spectrum = power(texture, *size)
    assert spectrum.min() >= 0
    assert spectrum.mean() == pytest.approx(1)
    assert spectrum[1:] == pytest.approx(spectrum[1:][::-1])  # the same along both diagonals
    assert spectrum[:, 1:] == pytest.approx(spectrum[:, 1:][:, ::-1])
    assert power(texture.turned, *size[::-1]) == pytest.approx(spectrum.T)


@given(textures)
def test_it_goes_through_json(texture: Texture) -> None:
    again = Texture.of_dict(json.loads(json.dumps(asdict(texture))))
    assert again == texture
    assert hash(again) == hash(texture)


@settings(max_examples=10, deadline=None)
@given(textures, st.integers(1, LONGEST), st.integers(1, LONGEST))
def test_what_a_mixed_difference_shows_of_it(texture: Texture, down: int, across: int) -> None:
    x = draw((30, 128, 128), texture, seeded(1)).numpy()
    mixed = x[:, :-down, :-across] - x[:, down:, :-across] - x[:, :-down, across:] + x[:, down:, across:]
    assert (mixed / 2).std() == pytest.approx(texture.shown(down, across), rel=0.05, abs=0.01)


def test_white_noise_of_a_seed_is_that_of_torch() -> None:
    assert torch.equal(draw((2, 5, 7), WHITE, seeded(3)), torch.randn((2, 5, 7), generator=seeded(3)))


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("sigma", [15, 25, 50])
def test_it_is_found_again_on_anatomy(name: str, sigma: int) -> None:
    """Nearer than any Gaussian would be (see below)."""
    clean, true = torch.from_numpy(mni_slices(60, 6, 10)), BOTH[name]
    level = estimate_noise((clean + sigma / 255 * draw(tuple(clean.shape), true, seeded(2))).numpy())
    assert off(level.texture, true) < 0.2
    assert level.typical * 255 == pytest.approx(sigma, rel=0.1)


def test_a_gaussian_stands_in_for_none_of_the_others() -> None:
    for true in (ZERO_FILLED, ONE_WAY, FILTERED, CT):
        assert min(off(smoothed(width), true) for width in np.linspace(0, 2, 81)) > 0.25


@pytest.mark.parametrize("grain", [0.05, 0.1, 0.17])
def test_white_noise_beside_it_does_not_mislead(grain: float) -> None:
    clean, true = torch.from_numpy(mni_slices(60, 6, 10)), replace(smoothed(1.2), grain=grain)
    level = estimate_noise((clean + 0.1 * draw(tuple(clean.shape), true, seeded(3))).numpy())
    assert off(level.texture, true) < 0.2
    assert level.texture.grain == pytest.approx(grain, abs=0.06)
    assert level.typical == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("grain", [0.005, 0.008, 0.01, 0.013, 0.017])
def test_a_trace_of_white_noise_does_not_make_it_that_of_ct(grain: float) -> None:
    true = replace(smoothed(1.2), grain=grain)
    level = estimate_noise(0.1 * draw((1, 500, 500), true, seeded(3)).numpy())
    assert off(level.texture, true) < 0.1
    assert level.typical == pytest.approx(0.1, rel=0.05)


def test_images_share_a_shape_and_keep_the_grain_that_each_has() -> None:
    grains = [0.02, 0.06, 0.12, 0.2]
    true = [replace(smoothed(1.2), grain=grain) for grain in grains]
    measured = [differences_of(look(draw((1, 400, 400), one, seeded(7)).numpy())) for one in true]
    found = shared_textures(measured, [3] * len(measured), true)  # type: ignore[arg-type]
    assert len({texture.down for texture in found}) == 1
    assert [texture.grain for texture in found] == pytest.approx(grains, abs=0.05)


def test_with_a_shape_that_fits_it_badly_an_image_keeps_its_own() -> None:
    true = [SMOOTHED, SMOOTHED, SMOOTHED, ZERO_FILLED]
    measured = [differences_of(look(draw((1, 400, 400), one, seeded(8)).numpy())) for one in true]
    found = shared_textures(measured, [2] * len(measured), true)  # type: ignore[arg-type]
    assert len(set(found[:3])) == 1
    assert off(found[0], SMOOTHED) < 0.1
    assert found[3] == ZERO_FILLED


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(("true", "machine"), [(FILTERED, "CT"), (CT, "MR")])
def test_a_machine_makes_no_noise_of_another_kind(true: Texture, machine: Machine, together: bool) -> None:
    """What can only be taken for something else is, by those that it makes."""
    images = [draw((1, 400, 400), true, seeded(seed)).numpy() for seed in (range(4) if together else [0])]
    measured = [differences_of(look(image)) for image in images]
    ask = lambda name: shared_textures(measured, [2] * len(measured), [true] * len(measured), name)  # noqa: E731
    found, known, other = (ask(name) for name in ("", {"CT": "MR", "MR": "CT"}[machine], machine))
    assert found == known
    assert all(off(texture, true) < 0.1 for texture in found)
    assert not any(may_come_from(texture, machine) for texture in found)
    assert all(may_come_from(texture, machine) for texture in other)


def test_the_dark_of_a_magnitude_image_has_no_say() -> None:
    """There the noise is a magnitude itself, and less correlated."""
    clean = 4 * torch.from_numpy(mni_slices(60, 6, 10)) * (torch.from_numpy(mni_slices(60, 6, 10)) > 0.1)
    real, imaginary = (0.2 * draw(tuple(clean.shape), smoothed(0.8), seeded(seed)) for seed in (4, 5))
    magnitude = torch.hypot(clean + real, imaginary).numpy()
    assert off(texture_of(look(magnitude), 2), smoothed(0.8)) < 0.2


@pytest.mark.parametrize("true", [SMOOTHED, ZERO_FILLED], ids=["smoothed", "zero-filled"])
def test_nor_has_that_of_a_repetition(true: Texture) -> None:
    clean = torch.nn.functional.pad(4 * torch.from_numpy(mni_slices(60, 6, 10)), (20, 20, 20, 20))
    seeds = torch.Generator().manual_seed(10)
    a, b = (
        torch.hypot(clean + 0.2 * draw(tuple(clean.shape), true, seeds), 0.2 * draw(tuple(clean.shape), true, seeds))
        for _ in range(2)
    )
    assert off(estimate_noise(a.numpy(), again=b.numpy()).texture, true) < 0.2


@pytest.mark.parametrize("offset", [-1000, -0.5, 5])
def test_it_does_not_depend_on_where_a_unit_has_its_zero(offset: float) -> None:
    clean = torch.from_numpy(mni_slices(60, 6, 10))
    noisy = (clean + 0.1 * draw(tuple(clean.shape), CT, seeded(11))).numpy().astype(np.float64)
    assert off(texture_of(look(noisy + offset), 1), CT) < 0.1


def test_of_repetitions_all_places_count() -> None:
    clean = torch.from_numpy(mni_slices(60, 6, 10))
    a, b = ((clean + 0.02 * draw(tuple(clean.shape), CT, seeded(seed))).numpy() for seed in (6, 7))
    level = estimate_noise(a, again=b)
    assert off(level.texture, CT) < 0.1
    assert level.typical == pytest.approx(0.02, rel=0.04)


def test_too_small_or_masked_images_have_no_texture() -> None:
    stripes = np.broadcast_to(np.random.default_rng(0).random(64), (2, 64, 64))  # no mixed difference sees them
    for image in (np.zeros((2, 64, 64)), np.random.default_rng(0).random((1, 3, 3)), np.zeros((1, 1, 1)), stripes):
        assert texture_of(look(image), 1) == WHITE


def test_any_reach_may_be_asked_for() -> None:
    noisy = draw((4, 128, 128), smoothed(2.0), seeded(12)).numpy()
    found = [estimate_noise(noisy, reach=reach).typical for reach in (4, 5, 8)]
    assert found == pytest.approx([1, 1, 1], abs=0.25)


def test_it_says_where_it_may_come_from() -> None:
    assert str(WHITE) == "white"
    assert "zero-filling across" in str(ONE_WAY)
    assert "CT" in str(CT)
    assert str(SMOOTHED) == "smoothed over 0.8 pixels"


def test_gaussian_noise_of_the_simulator_is_smoothed_noise() -> None:
    white = correlated(torch.zeros(60, 100, 100), 1.0, 1.2, seeded(8)).numpy()
    assert (white[:, 1:] * white[:, :-1]).mean() == pytest.approx(correlation(smoothed(1.2))[1, 0], abs=0.02)


def test_rician_noise_that_is_white_has_no_reach() -> None:
    noisy = rician(torch.from_numpy(mni_slices(60, 6, 10)), 0.1, seeded(9)).numpy()
    assert estimate_noise(noisy).texture == WHITE


def off(found: Texture, true: Texture) -> float:
    """Mean distance of two spectra, whose mean is 1."""
    return float(np.abs(power(found, 64, 64) - power(true, 64, 64)).mean())


def test_the_area_is_that_over_which_the_noise_correlates() -> None:
    assert Texture().area == 1
    assert smoothed(1.2).area == pytest.approx(2 * np.pi * 1.2**2, rel=0.02)  # of exp(-d^2 / (4 w^2)), squared
    assert Texture(("band", 0.5), ("band", 0.5)).area == pytest.approx(4, rel=0.1)
