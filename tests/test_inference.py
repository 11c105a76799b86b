from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from diffdenoise.diagnosis import diagnose
from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.errors import ConfigError
from diffdenoise.inference import Denoised, Sampler, denoise_slices, domain_of, weakened
from diffdenoise.model import Model, Round
from diffdenoise.model_file import load_model
from diffdenoise.noise.estimate import constant_level
from diffdenoise.noise.floor import deviations_of_signal, inverse_of
from diffdenoise.noise.looked import look
from diffdenoise.noise.models import rician
from diffdenoise.noise.rician import rician_sigma
from diffdenoise.noise.texture import Texture, draw, smoothed
from diffdenoise.normalisation import Normalisation, fit_normalisation
from diffdenoise.phantom import mni_slices
from diffdenoise.preparation import Source, prepare
from diffdenoise.presets import make_config
from diffdenoise.scans.scan import Scan
from diffdenoise.tiling import tiled
from tests.conftest import noisy_disks

SIGMA = 6 / 255


@pytest.fixture(scope="module")
def model(smoke_model: Path) -> Model:
    return load_model(smoke_model)


@pytest.mark.parametrize("network", ["blind_spot", "student"])
def test_the_networks_own_tiles_change_nothing(model: Model, network: str) -> None:
    net, x, sizes = getattr(model, network), torch.rand(1, 1, 300, 60), []

    def seen(part: torch.Tensor) -> torch.Tensor:
        sizes.append(part.shape)
        return net(part)

    with torch.no_grad():
        parts = tiled(seen, x, tile=96, alignment=getattr(net, "alignment", 1))
        whole = net(x)
    assert len(sizes) > 1
    torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("sampler", ["student", "ensemble", "srds"])
def test_slices_do_not_depend_on_their_neighbours_or_order(model: Model, sampler: Sampler) -> None:
    config = model.config.model_copy(update={"sigma": 0.05})
    fixed = replace(model, config=config, normalisation=Normalisation("fixed", 0.1, 0.9))
    pixels, order = noisy_disks(slices=3), [2, 0, 1]
    together = denoise_slices(fixed, pixels, sampler).pixels
    assert not np.array_equal(together, pixels)
    np.testing.assert_allclose(denoise_slices(fixed, pixels[order], sampler).pixels, together[order], atol=1e-5)
    np.testing.assert_allclose(denoise_slices(fixed, pixels[1:2], sampler).pixels, together[1:2], atol=1e-5)


def test_where_nothing_asks_for_the_noise_none_is_not_taken_for_found(model: Model) -> None:
    alone = model.config.student.model_copy(update={"learns_from": "recorrupted"})
    config = model.config.model_copy(update={"student": alone})
    fixed = replace(model, normalisation=Normalisation("fixed"), config=config)
    assert not np.array_equal(denoise_slices(fixed, noisy_disks()).pixels, noisy_disks())


def test_a_scan_without_noise_comes_back_from_a_model_of_scans_without(model: Model) -> None:
    alone = model.config.student.model_copy(update={"learns_from": "recorrupted"})
    config = model.config.model_copy(update={"student": alone})
    drawing = np.zeros((2, 40, 40), np.float32)
    drawing[:, 10:20, 10:30] = 1
    result = denoise_slices(replace(model, normalisation=Normalisation("scan"), config=config), drawing)
    np.testing.assert_array_equal(result.pixels, drawing)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_so_much_of_the_students_correction_is_made_as_the_model_says(model: Model, strength: float) -> None:
    noisy, held_back = noisy_disks(1), replace(model, strength=strength)
    whole = denoise_slices(model, noisy).pixels
    expected = noisy + strength * (whole - noisy)
    np.testing.assert_allclose(denoise_slices(held_back, noisy).pixels, expected, atol=1e-6)


@pytest.mark.parametrize("overrides", [{}, {"sigma": 0.08}, {"counts": 300.0}, {"normalisation": "fixed"}])
def test_a_scan_comes_to_the_model_as_it_came_to_its_training(tmp_path: Path, overrides: dict) -> None:
    """Also alone: what was known of its noise from a repetition, or from another scan, is not known then."""
    clean = mni_slices(60, 3, 10)[:, ::2, ::2]
    noise = np.random.default_rng(0).standard_normal((3, *clean.shape)).astype(np.float32)
    scans = [Scan(clean + 0.05 * one, str(number), "npy") for number, one in enumerate(noise[:2])]
    scans.append(Scan(3 * clean[:, ::-1] + 0.2 * noise[2], "other", "npy"))
    sources = [Source(scan.name, lambda scan=scan: scan) for scan in scans]
    slices = prepare(sources, make_config("fast", overrides), tmp_path, lambda *_: None)
    assert slices.repeated == [True, True, False]
    model = Model(slices.config, slices.normalisation, ChainTarget("image"), None, (Round(None, nn.Identity()),))
    for scan, scale, level in zip(scans, slices.scales, slices.levels, strict=True):
        domain = domain_of(model, scan.pixels)
        assert (domain.offset, domain.scale) == pytest.approx(scale)
        if slices.config.counts:
            assert domain.level.sigma == pytest.approx(level.sigma)


def test_a_slice_whose_structure_passes_for_noise_is_believed_its_air(tmp_path: Path) -> None:
    """In the fit, by the noise of the other scans, and afterwards, by that of the fit."""
    clean = torch.from_numpy(mni_slices(40, 6, 6))
    generator = torch.Generator().manual_seed(0)
    of_channel = partial(draw, tuple(clean[:1].shape), Texture(("band", 0.5), ("band", 0.5)), generator)
    fine = clean[2:3] * (1 + 0.3 * draw(tuple(clean[:1].shape), smoothed(0.5), generator))
    images = [torch.hypot(one + SIGMA * of_channel(), SIGMA * of_channel()).numpy() for one in (*clean.split(1), fine)]
    assert diagnose(images[-1]).level.loudest > 1.5 * SIGMA
    scans = [Scan(image, str(number), "npy") for number, image in enumerate(images)]
    sources = [Source(scan.name, lambda scan=scan: scan) for scan in scans]
    slices = prepare(sources, make_config("fast"), tmp_path, lambda *_: None)
    model = Model(slices.config, slices.normalisation, ChainTarget("image"), None, (Round(None, nn.Identity()),))
    for scan, scale, level in zip(scans, slices.scales, slices.levels, strict=True):
        assert level.loudest * scale[1] == pytest.approx(SIGMA, rel=0.1)
        domain = domain_of(model, scan.pixels)
        assert (domain.offset, domain.scale) == pytest.approx(scale)
        assert domain.level.loudest * scale[1] == pytest.approx(SIGMA, rel=0.1)


class KeepsWhatIsStrong(nn.Module):
    """An image if most of its power is not noise, nothing of others."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.square().mean() > 0.05 else torch.zeros_like(x)


def series_model(student: nn.Module, series: bool, **settings: Any) -> Model:
    config = make_config("fast", {"student": {"series": series, "neighbours": 0, **settings}, "sigma": 0.1})
    return Model(config, Normalisation("fixed"), ChainTarget("image"), None, (Round(None, student),))


def series_of(frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Frames one after the other, and the same with noise."""
    clean = np.concatenate([mni_slices(60, 3, 10)] * frames)
    noise = np.random.default_rng(seed).standard_normal(clean.shape).astype(np.float32)
    return clean, clean + 0.1 * noise


def test_of_a_series_the_components_are_denoised_and_the_frames_come_back() -> None:
    clean, noisy = series_of(9)
    error = denoise_slices(series_model(KeepsWhatIsStrong(), True), noisy, frames=9).pixels - clean
    assert error.var() == pytest.approx(0.1**2 / 9, rel=0.05)
    untouched = denoise_slices(series_model(nn.Identity(), True), noisy, frames=9).pixels
    np.testing.assert_allclose(untouched, noisy, atol=1e-5)
    told_no = denoise_slices(series_model(KeepsWhatIsStrong(), False), noisy, frames=9).pixels
    np.testing.assert_array_equal(told_no, noisy)


def test_a_series_that_is_much_longer_than_those_of_the_fit_is_denoised_in_parts() -> None:
    _, noisy = series_of(10)

    def denoise(pixels: np.ndarray, frames: int, **settings: Any) -> np.ndarray:
        return denoise_slices(series_model(KeepsWhatIsStrong(), True, **settings), pixels, frames=frames).pixels

    halves = np.concatenate([denoise(half, 5) for half in np.split(noisy, 2)])
    for together in (5, 7, 9):
        np.testing.assert_allclose(denoise(noisy, 10, together=together), halves, atol=1e-5)
    for together in (0, 10, 99):
        np.testing.assert_array_equal(denoise(noisy, 10, together=together), denoise(noisy, 10))
    assert np.abs(denoise(noisy, 10) - halves).max() > 0.01


def test_frames_that_do_not_help_one_another_are_denoised_as_they_are() -> None:
    _, noisy = series_of(6)
    unrelated = np.concatenate([np.roll(part, 60 * t, (1, 2)) for t, part in enumerate(np.split(noisy, 6))])
    result = denoise_slices(series_model(KeepsWhatIsStrong(), True), unrelated, frames=6).pixels
    np.testing.assert_array_equal(result, unrelated)
    alone = denoise_slices(series_model(KeepsWhatIsStrong(), True), noisy[:3]).pixels
    np.testing.assert_array_equal(alone, noisy[:3])


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 9), (2, 7, 3), (1, 33, 65)])
@pytest.mark.parametrize("sampler", ["student", "srds"])
def test_tiny_and_odd_sizes(model: Model, shape: tuple[int, int, int], sampler: Sampler) -> None:
    pixels = np.random.default_rng(0).random(shape).astype(np.float32)
    result = denoise_slices(model, pixels, sampler).pixels
    assert result.shape == shape
    assert np.isfinite(result).all()


@pytest.mark.parametrize("sampler", ["student", "srds"])
def test_the_result_stays_within_the_scans_range(model: Model, sampler: Sampler) -> None:
    magnitudes = np.abs(noisy_disks() - 0.2)
    result = denoise_slices(model, magnitudes, sampler).pixels
    assert magnitudes.min() <= result.min()
    assert result.max() <= magnitudes.max()


@pytest.mark.parametrize("wanted", ["remove", "keep", "auto"])
def test_the_floor_of_rician_noise_goes_where_the_fit_has_decided_so(model: Model, wanted: str) -> None:
    """By the scan's own background, of a model that lets everything through."""
    clean = torch.from_numpy(mni_slices(60, 2, 10))
    noisy = 500 * rician(clean, 0.06, torch.Generator().manual_seed(0)).numpy()
    through = replace(model, rounds=(Round(None, nn.Identity()),), config=make_config("fast", {"noise_floor": wanted}))
    result = denoise_slices(through, noisy).pixels
    floor_off = lambda slices: np.stack([inverse_of(slices, 500 * 0.06)(image) for image in slices])  # noqa: E731
    expected = floor_off(noisy) if wanted == "remove" else noisy
    np.testing.assert_allclose(result.mean(), expected.mean(), rtol=0.01)
    assert np.abs(result - expected).mean() < 1
    masked = np.where(clean.numpy() < 0.1, 0, noisy)  # nothing to tell sigma by
    np.testing.assert_allclose(denoise_slices(through, masked).pixels, masked, atol=0.1)
    told = replace(through, config=through.config.model_copy(update={"sigma": 30.0}))
    np.testing.assert_allclose(
        denoise_slices(told, masked).pixels.mean(),
        (floor_off(masked) if wanted == "remove" else masked).mean(),
        rtol=0.01,
    )


@pytest.mark.parametrize("told", [{}, {"sigma": 0.06}])
def test_signed_values_have_no_floor(model: Model, told: dict) -> None:
    """Real and imaginary parts, CT: half of what is below their floor would be lost."""
    config = make_config("fast", {"noise_floor": "remove", **told})
    through = replace(model, rounds=(Round(None, nn.Identity()),), config=config)
    noise = np.random.default_rng(0).standard_normal((2, 96, 96)).astype(np.float32)
    signed = np.linspace(-0.5, 0.5, 96, dtype=np.float32) + 0.06 * noise
    result = denoise_slices(through, signed)
    np.testing.assert_allclose(result.pixels, signed, atol=1e-5)
    assert result.magnitude is None


@pytest.mark.parametrize("overrides", [{}, {"sigma": 20.0}, {"counts": 0.5}, {"stabilise": True}])
def test_a_scan_is_fused_by_the_level_that_its_teacher_was_fused_by(tmp_path: Path, overrides: dict) -> None:
    """Of its kind: Rician, whose level goes down where it is dark, also where its strength is given."""
    clean = torch.from_numpy(mni_slices(60, 2, 10))
    noisy = 500 * rician(clean, 0.04, torch.Generator().manual_seed(0)).numpy()
    sources = [Source("one", lambda: Scan(noisy, "one", "npy"))]
    slices = prepare(sources, make_config("smoke", overrides), tmp_path, lambda *_: None)
    model = Model(slices.config, slices.normalisation, ChainTarget("image"), None, (Round(None, nn.Identity()),))
    domain = domain_of(model, noisy)
    (level,) = slices.levels
    assert (domain.offset, domain.scale) == pytest.approx(slices.scales[0])
    np.testing.assert_allclose(domain.level.sigma, level.sigma, rtol=1e-6)
    np.testing.assert_allclose(domain.level.knots, level.knots, rtol=1e-5)
    assert (domain.level.reach, domain.level.texture) == (level.reach, level.texture)
    if "counts" not in overrides and "stabilise" not in overrides:
        assert min(level.sigma) < 0.8 * max(level.sigma)
    np.testing.assert_allclose(domain.into(noisy)[0], slices.store.arrays[0][0, 0], atol=1e-5)


def test_the_ensemble_sees_a_slice_and_the_slice_turned_alike(model: Model) -> None:
    pixels = noisy_disks(slices=2, rows=48, columns=48)
    turned = np.ascontiguousarray(np.rot90(pixels, axes=(1, 2)))
    one, other = (denoise_slices(model, image, "ensemble").pixels for image in (pixels, turned))
    np.testing.assert_allclose(np.rot90(one, axes=(1, 2)), other, atol=1e-4)
    plain, plain_turned = (denoise_slices(model, image).pixels for image in (pixels, turned))
    assert np.abs(np.rot90(plain, axes=(1, 2)) - plain_turned).max() > 1e-3


@pytest.mark.parametrize("turns", [1, 2, 8])
def test_auto_is_what_the_model_says(model: Model, turns: int) -> None:
    student = model.config.student.model_copy(update={"turns": turns})
    decided = replace(model, config=model.config.model_copy(update={"student": student}))
    pixels = noisy_disks(slices=1, rows=48, columns=48)
    one, eight = (denoise_slices(decided, pixels, sampler).pixels for sampler in ("student", "ensemble"))
    assert not np.array_equal(one, eight)
    got = denoise_slices(decided, pixels).pixels
    assert [np.array_equal(got, result) for result in (one, eight)] == [turns == 1, turns == 8]


def test_a_sampler_that_there_is_not_is_named(model: Model) -> None:
    with pytest.raises(ConfigError, match=r"no sampler 'magic'.*ensemble"):
        denoise_slices(model, noisy_disks(slices=1), "magic")  # type: ignore[arg-type]


class Above(nn.Module):
    """The slice before."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 1:2]


@pytest.mark.parametrize(("frames", "before"), [(1, [0, 0, 1, 2, 3, 4]), (2, [0, 0, 1, 3, 3, 4])])
def test_a_student_is_shown_the_slices_beside(model: Model, frames: int, before: list[int]) -> None:
    seeing = make_config("fast", {"student": {"neighbours": 1}, "sigma": 0.1})
    shown = replace(model, rounds=(Round(None, Above()),), config=seeing)
    pixels = noisy_disks(slices=6)
    result = denoise_slices(shown, pixels, frames=frames).pixels
    limits = [(image.min(), image.max()) for image in pixels]
    expected = np.stack([pixels[number].clip(*limit) for number, limit in zip(before, limits, strict=True)])
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_a_slice_is_shown_alone_where_it_shares_noise_with_those_beside(model: Model) -> None:
    seeing = make_config("fast", {"student": {"neighbours": 1}, "sigma": 0.1})
    shown = replace(model, rounds=(Round(None, Above()),), config=seeing)
    clean = torch.from_numpy(mni_slices(60, 12, 1))[:, ::2, ::2]
    noise = torch.randn(14, *clean.shape[1:], generator=torch.Generator().manual_seed(0))
    pixels = (clean + 0.1 * (noise[:-2] + noise[1:-1] + noise[2:]) / 3**0.5).numpy()
    result = denoise_slices(shown, pixels)
    np.testing.assert_allclose(result.pixels, pixels, atol=1e-5)  # not the slice before
    assert result.shared
    assert not denoise_slices(model, pixels).shared  # which sees each alone, anyway


@pytest.mark.parametrize("times", [1, 1 / 4095])
def test_a_scan_in_another_unit_than_the_noise_that_was_told_is_said_to_be_foreign(model: Model, times: float) -> None:
    told = make_config("fast", {"student": {"neighbours": 0}, "sigma": 400.0})
    rule = fit_normalisation([(0.0, 4000.0)], [constant_level(400.0)], "noise")
    of_unit = replace(model, config=told, normalisation=rule, rounds=(Round(None, nn.Identity()),))
    assert denoise_slices(of_unit, times * 4000 * noisy_disks()).foreign == (times != 1)


def test_the_spread_of_samples_is_in_signals_where_the_floor_is_taken_off(model: Model) -> None:
    """Near the floor a magnitude says little of the signal below it."""
    clean = torch.from_numpy(mni_slices(60, 2, 10))
    noisy = rician(clean, 0.06, torch.Generator().manual_seed(0)).numpy()
    on, off = (replace(model, config=model.config.model_copy(update={"noise_floor": it})) for it in ("keep", "remove"))
    magnitudes, signals = (denoise_slices(it, noisy, "srds") for it in (on, off))
    inverse = inverse_of(magnitudes.pixels, rician_sigma(look(noisy)))
    expected = deviations_of_signal(magnitudes.pixels, magnitudes.spread, inverse)
    assert np.abs(expected - magnitudes.spread).max() > 0.1 * expected.max()
    np.testing.assert_allclose(signals.spread, expected, atol=1e-4)


@given(st.floats(0.01, 1), st.integers(0, 100))
def test_strength_is_the_share_that_is_removed(strength: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    noisy, denoised, spread, magnitude = random.normal(0, 100, (4, 2, 5, 6)).astype(np.float32)
    full = Denoised(denoised, spread, magnitude)
    result = weakened(full, noisy, strength)
    assert result.spread is not None and result.magnitude is not None
    assert result.pixels.dtype == np.float32
    np.testing.assert_allclose(noisy - result.pixels, strength * (noisy - denoised), atol=1e-3)
    np.testing.assert_allclose(noisy - result.magnitude, strength * (noisy - magnitude), atol=1e-3)
    np.testing.assert_allclose(result.spread, strength * spread, atol=1e-3)
    assert weakened(full, noisy, 1) is full
