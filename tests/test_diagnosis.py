import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from diffdenoise import diagnosis
from diffdenoise.diagnosis import (
    Choice,
    Diagnosis,
    as_given,
    choose,
    diagnose,
    diagnose_alone,
    settle,
    told,
    with_counts,
    with_shared_textures,
    with_sigma,
)
from diffdenoise.noise.estimate import NoiseLevel, constant_level, level_of
from diffdenoise.noise.looked import look
from diffdenoise.noise.models import correlated, gaussian, poisson, rician
from diffdenoise.noise.rays import amplitudes_over, draw_along
from diffdenoise.noise.spatial import Variation
from diffdenoise.noise.texture import Texture, draw, may_come_from, power, smoothed
from diffdenoise.noise.trend import Kind, Trend, as_its_kind
from diffdenoise.phantom import mni_slices
from diffdenoise.presets import PRESETS, make_config


def found(level: NoiseLevel, kind: Kind, **of_it: Any) -> Diagnosis:
    """A diagnosis without faults."""
    return Diagnosis(level, Trend(kind), (), level, **of_it)


def chosen(kinds: list[Kind], reaches: list[int], neighbours: int = 0) -> Choice:
    """For scans of which so many have neighbours that help."""
    levels = [replace(constant_level(1), reach=reach) for reach in reaches]
    pairs = enumerate(zip(levels, kinds, strict=True))
    return choose([found(level, kind, neighbours=n < neighbours) for n, (level, kind) in pairs])


def test_noise_that_varies_over_the_image_is_told() -> None:
    uneven = replace(constant_level(1), variation=Variation(((0.0, 0.3), (0.0, 0.0)), 0.7, 1.4))
    scans = [found(level, "gaussian") for level in (uneven, uneven, constant_level(1))]
    assert "varies over the image: 0.7 to 1.4 times" in choose(scans).noise
    assert "over the image" not in choose(scans[1:]).noise


def test_the_patch_reaches_past_the_correlation() -> None:
    assert [chosen(["gaussian"], [reach]).patch for reach in (0, 1, 4)] == [1, 3, 9]
    assert chosen(["gaussian"] * 3, [0, 1, 1]).patch == 3


@pytest.mark.parametrize(
    ("kind", "loss"), [("gaussian", "l1"), ("poisson", "l2"), ("gamma", "l2"), ("rician", "l2"), ("unknown", "l2")]
)
def test_the_loss_follows_the_kind(kind: Kind, loss: str) -> None:
    choice = chosen([kind, kind, "unknown"], [0, 0, 0])
    assert choice.loss == loss
    assert loss.upper() in choice.why["blind_spot.loss"]


def test_reasons_are_told_for_what_the_config_leaves_open_and_for_nothing_else() -> None:
    choice = chosen(["poisson"], [2])
    everything = told(make_config("cpu", {"blind_spot": {"loss": None}}), choice)
    assert [re.findall(r"setting ([\w.]+)\)", sentence) for sentence in everything] == [
        [], ["blind_spot.patch"], ["blind_spot.loss"], ["stabilise"],
    ]  # fmt: skip
    assert "noise_floor" in " ".join(told(make_config("fast"), chosen(["rician"], [0])))
    assert "noise_floor" not in " ".join(told(make_config("fast", {"noise_floor": "keep"}), chosen(["rician"], [0])))
    said = make_config("cpu", {"blind_spot": {"patch": 1, "loss": "l1"}, "stabilise": True})
    assert told(said, choice) == [choice.noise]
    assert "correlated over 2 pixels" in choice.noise


def test_what_a_config_says_is_kept_and_only_gaps_are_filled() -> None:
    choice = chosen(["poisson"], [2])
    open_ = settle(make_config("cpu", {"blind_spot": {"loss": None}}), choice)
    assert (open_.blind_spot.patch, open_.blind_spot.loss) == (5, "l2")
    said = settle(make_config("cpu", {"blind_spot": {"patch": 1, "loss": "l1"}}), choice)
    assert (said.blind_spot.patch, said.blind_spot.loss) == (1, "l1")


@pytest.mark.parametrize(
    ("said", "kind", "settled"),
    [
        ("auto", "rician", "remove"),
        ("auto", "gaussian", "keep"),
        ("keep", "rician", "keep"),
        ("remove", "unknown", "remove"),
    ],
)
def test_the_floor_is_taken_off_where_there_is_one(said: str, kind: Kind, settled: str) -> None:
    assert settle(make_config("fast", {"noise_floor": said}), chosen([kind], [0])).noise_floor == settled


def test_neighbours_are_seen_where_they_help_in_most_scans_and_nothing_else_is_said() -> None:
    most, half = (chosen(3 * ["gaussian"], 3 * [0], count) for count in (2, 1))
    assert [settle(PRESETS["fast"], choice).student.neighbours for choice in (most, half)] == [1, 0]
    assert settle(make_config("fast", {"student": {"neighbours": 0}}), most).student.neighbours == 0
    assert settle(PRESETS["cpu"], most).student.neighbours == 0
    assert "slices above and below" in " ".join(told(PRESETS["fast"], most))
    assert "slices above and below" not in " ".join(told(PRESETS["cpu"], most))


def test_series_are_seen_where_one_scan_is_one_and_then_no_neighbours() -> None:
    still = found(constant_level(1), "gaussian", neighbours=True)
    choice = choose([still, still, replace(still, series=24)])
    settled = settle(make_config("fast"), choice).student
    assert (settled.series, settled.together, settled.neighbours) == (True, 48, 0)
    assert settle(make_config("fast", {"student": {"together": 9}}), choice).student.together == 9
    assert "student.series" in told(make_config("fast"), choice)[-1]
    assert settle(make_config("fast", {"student": {"series": False}}), choice).student.series is False
    assert settle(make_config("fast"), choose([still])).student.series is False
    assert settle(make_config("cpu"), choice).student.series is False


def test_whoever_wants_no_series_gets_neighbours_where_they_help() -> None:
    frames = replace(found(constant_level(1), "gaussian", neighbours=True), series=24)
    alone, together = make_config("fast", {"student": {"series": False}}), make_config("fast")
    choice = choose([frames])
    assert [settle(config, choice).student.neighbours for config in (alone, together)] == [1, 0]
    assert "slices above and below" in " ".join(told(alone, choice))
    assert "slices above and below" not in " ".join(told(together, choice))


def test_the_noise_of_a_series_is_measured_on_the_components_that_hold_nothing_else() -> None:
    anatomy, random = mni_slices(60, 4, 8), np.random.default_rng(0)
    texture = 0.04 * random.standard_normal(anatomy.shape).astype(np.float32)  # that comes and goes: no noise
    weighted = np.concatenate([anatomy + np.float32(weight) * texture for weight in random.standard_normal(12)])
    series = gaussian(torch.from_numpy(weighted), 0.04, torch.Generator().manual_seed(0)).numpy()
    diagnosed = diagnose(series, np.split(series, 12), 12)
    assert diagnosed.on_components
    assert diagnosed.series == 12
    assert diagnosed.level.typical == pytest.approx(0.04, rel=0.03)
    assert "on the components of a series" in choose([diagnosed]).noise


def test_neighbours_of_a_series_are_looked_for_within_a_volume() -> None:
    clean, generator = torch.from_numpy(mni_slices(60, 6, 1)), torch.Generator().manual_seed(0)
    noisy = gaussian(clean, 0.1, generator).numpy()
    assert diagnose(noisy).neighbours
    assert not diagnose(noisy, frames=3).neighbours  # two slices a volume


def test_a_given_sigma_replaces_the_level_but_not_what_the_noise_is_like() -> None:
    clean, generator = torch.from_numpy(mni_slices(60, 6, 10)), torch.Generator().manual_seed(0)
    rician_ = with_sigma(diagnose(rician(clean, 0.06, generator).numpy()), 0.1).level
    assert np.sqrt(rician_.variance(np.array([0.0, 1.0]))) == pytest.approx([0.0655, 0.1], rel=0.01)
    other = with_sigma(diagnose(correlated(clean, 0.06, 1.2, generator).numpy()), 0.1).level
    assert (other.knots, other.sigma, other.skewness) == ((0.0,), (0.1,), ())
    assert other.reach > 0
    assert not other.texture.is_white


def test_where_the_noise_is_correlated_the_paper_takes_another_network() -> None:
    paper = PRESETS["paper"]
    assert settle(paper, chosen(["gaussian"], [0])).blind_spot.network == "puca"
    correlated_ = settle(paper, chosen(["gaussian"], [2])).blind_spot
    assert (correlated_.network, correlated_.patch) == ("local_global", 5)
    assert settle(PRESETS["cpu"], chosen(["gaussian"], [2])).blind_spot.network == "patch_blind"


@pytest.mark.parametrize(
    ("noise", "kind", "patch"), [("white", "gaussian", 1), ("0.5 px", "gaussian", 3), ("poisson", "poisson", 1)]
)
def test_from_the_scan_to_the_choice(noise: str, kind: str, patch: int) -> None:
    clean, generator = torch.from_numpy(mni_slices(60, 6, 10)), torch.Generator().manual_seed(0)
    simulate = {
        "white": lambda: gaussian(clean, 0.1, generator),
        "0.5 px": lambda: correlated(clean, 0.1, 0.5, generator),
        "poisson": lambda: poisson(clean, 200, generator),
    }
    found = diagnose(simulate[noise]().numpy())
    assert found.trend.kind == kind
    assert choose([found]).patch == patch
    assert found.faults == ()


def test_a_clipped_background_is_told() -> None:
    noisy = gaussian(torch.from_numpy(mni_slices(60, 6, 10)), 0.1, torch.Generator().manual_seed(0)).numpy()
    assert "clipped" in [fault.fault for fault in diagnose(np.clip(noisy, 0, 1)).faults]


def test_scans_of_a_kind_share_a_texture_where_it_fits_each() -> None:
    """Of single slices some show another one by chance; noise that is another one, or white, stays what it is."""
    clean, generator = torch.from_numpy(mni_slices(40, 8, 8)), torch.Generator().manual_seed(0)
    back_projection, other = Texture(radial=(0.3, 2.0, 0.0)), smoothed(1.2)
    noise = [draw(tuple(image.shape), back_projection, generator) for image in clean[:6]]
    noise += [draw(tuple(clean[6].shape), texture, generator) for texture in (other, Texture())]
    scans = [(image + 0.1 * n).numpy()[None] for image, n in zip(clean, noise, strict=True)]
    alone = [diagnose(scan) for scan in scans]
    together = with_shared_textures(alone, ["CT"] * 8, [""] * len(alone))
    (texture,) = {one.level.texture for one in together[:6]}
    assert len({one.level.texture for one in alone[:6]}) > 1
    assert len(texture.radial) == 3
    assert together[6:] == alone[6:]
    for before, after in zip(alone[:6], together, strict=False):
        reach = before.level.reach + 1
        shown = [one.level.typical * one.level.texture.shown(reach, reach) for one in (before, after)]
        assert shown[0] == pytest.approx(shown[1])
    assert with_shared_textures(alone, list(range(8)), [""] * 8) == alone


def test_whole_counts_are_told() -> None:
    counted = np.random.default_rng(0).poisson(200 * mni_slices(60, 4, 10)).astype(np.float32)
    choice = choose([diagnose(counted)])
    assert "whole counts" in choice.noise
    assert "whole counts" not in choose([diagnose(counted + 0.1 * counted**0.5)]).noise


@pytest.mark.parametrize("whole", [True, False])
def test_an_mr_scanner_counts_nothing_but_its_noise_is_as_strong_as_it_is_found_to_be(whole: bool) -> None:
    counted = np.random.default_rng(0).poisson(200 * mni_slices(60, 4, 10)).astype(np.float32)
    noisy = counted if whole else counted + 0.1 * counted**0.5
    of_any, of_mr = (diagnose(noisy, machine=machine) for machine in ("", "MR"))
    assert (of_any.trend.kind, of_any.trend.counted) == ("poisson", whole)
    assert (of_mr.trend.kind, of_mr.trend.counted) == ("signal-dependent", False)
    assert not any(of_mr.level.skewness)
    assert "stronger where it is bright, as ghosts" in choose([of_mr]).noise
    assert whole or replace(of_any.level, skewness=()) == of_mr.level


def test_one_scan_alone_has_a_texture_that_its_machine_can_make() -> None:
    noise = draw((6, 160, 160), smoothed(0.8), torch.Generator().manual_seed(0)).numpy()
    noisy = mni_slices(60, 6, 10)[:, 20:180, 20:180] + 0.05 * noise
    for machine in ("", "CT", "MR"):
        alone = diagnose_alone(noisy, machine=machine)
        assert may_come_from(alone.level.texture, machine)
        (fitted,) = with_shared_textures([diagnose(noisy, machine=machine)], ["a kind"], [machine])
        assert fitted.level == alone.level


@pytest.mark.parametrize(("in_air", "kind"), [(0.03, "projected"), (0.06, "gaussian")])
def test_noise_of_ct_is_as_strong_in_the_body_as_it_is_found_there(in_air: float, kind: str) -> None:
    clean = mni_slices(60, 8, 5)
    ramp = Texture(radial=(0.36, 2.0, 0.0))
    noise = draw(clean.shape, ramp, torch.Generator().manual_seed(0)).numpy()
    found = diagnose(1000 * (clean + np.where(clean > 0.2, 0.06, in_air) * noise) - 1000, machine="CT")
    assert found.trend.kind == kind
    assert ("weaker in air" in choose([found]).noise) == (kind == "projected")
    air, body = np.sqrt(found.level.variance(np.array([-1000.0, -350.0])))
    assert (air, body) == (pytest.approx(1000 * in_air, rel=0.15), pytest.approx(60, rel=0.15))


def test_few_whole_counts_are_neither_clipped_nor_without_noise() -> None:
    """Scintigraphy: less than one count to a pixel beside the body, and nearly every other one of them zero."""
    body = 12 * mni_slices(60, 4, 10) + 0.8
    counted = diagnose(np.random.default_rng(0).poisson(body).astype(np.float32))
    assert counted.trend.counted
    assert counted.faults == ()


def test_the_flattest_places_of_all_brightnesses_tell_how_strong_correlated_noise_is() -> None:
    """At some brightnesses nothing is flat over as far as the noise reaches; what repeats tells each by itself."""
    sigma, clean = 15 / 255, torch.from_numpy(mni_slices(60, 6, 10))
    images = [correlated(clean, sigma, 1.2, torch.Generator().manual_seed(seed)).numpy() for seed in (0, 1)]
    one, both = diagnose(images[0]), diagnose(images[0], images)
    assert (one.trend.kind, one.repeated) == ("gaussian", False)
    assert max(level_of(look(images[0])).sigma) > 1.15 * sigma
    assert one.level.sigma == pytest.approx((sigma,), rel=0.03)
    assert both.repeated
    assert len(both.level.sigma) > 1


def test_whole_counts_are_as_noisy_everywhere_as_their_brightness_says() -> None:
    """What varies over the image beside it is the object's."""
    uneven = replace(constant_level(1), variation=Variation(((0.0, 0.3), (0.0, 0.0)), 0.7, 1.4))
    assert as_its_kind(uneven, Trend("poisson", lam=1, counted=True)).variation.is_even


def test_a_level_that_was_given_is_not_said_to_be_measured() -> None:
    counted = diagnose(np.random.default_rng(0).poisson(200 * mni_slices(60, 4, 10)).astype(np.float32))
    assert "known exactly" in choose([counted]).noise
    for given_ in (with_sigma(replace(counted, repeated=True), 20), with_counts(counted, 1, 200)):
        said = choose([given_]).noise
        assert "as given" in said
        assert not any(words in said for words in ("known exactly", "measured", "stronger where"))


def test_a_sigma_that_was_given_is_told_as_it_was_given() -> None:
    """Of magnitudes each channel has it; the noise itself is weaker nearly everywhere."""
    dark = Diagnosis(constant_level(3), Trend("rician", sigma=3), (), constant_level(3))
    assert with_sigma(dark, 5.125).level.typical < 5.12
    assert "as given, a standard deviation of 5.125." in choose([with_sigma(dark, 5.125)]).noise


def test_of_counts_that_were_given_the_level_of_a_middling_brightness_is_told() -> None:
    counted = np.random.default_rng(0).poisson(200 * mni_slices(60, 4, 10)).astype(np.float32)
    assert with_counts(diagnose(counted), 1, 200.0).level.typical == pytest.approx(np.sqrt(100), rel=0.05)


def test_what_a_dark_background_tells_of_noise_stays_but_for_what_its_machine_cannot_make() -> None:
    clean, generator = torch.from_numpy(mni_slices(40, 4, 8)), torch.Generator().manual_seed(0)
    texture = Texture(radial=(0.3, 2.0, 0.0))
    scans = [(image + 0.1 * draw(tuple(image.shape), texture, generator)).numpy()[None] for image in clean]
    measured = [diagnose(scan) for scan in scans]
    assert with_shared_textures(measured, ["MR"] * 4, [""] * 4) != measured
    dark = [replace(one, trend=Trend("rician", sigma=0.1, misfit=0.05)) for one in measured]
    assert with_shared_textures(dark, ["MR"] * 4, [""] * 4) == dark
    of_mr = with_shared_textures(dark, ["MR"] * 4, ["MR"] * 4)
    assert all(may_come_from(one.level.texture, "MR") for one in of_mr)
    assert [one.level.sigma for one in of_mr] == [one.level.sigma for one in dark]


@pytest.mark.parametrize("texture", [Texture(radial=(0.38, 2.0, 0.03)), smoothed(1)])
def test_noise_goes_by_the_rays_where_it_comes_from_them(texture: Texture) -> None:
    row, column = np.ogrid[:256, :256]
    disc = (np.hypot(row - 127.5, column - 127.5) < 110).astype(np.float32)
    drawn = [draw_along(amplitudes_over(disc, 0.012), texture, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    one, two = ((disc + 0.05 * unit.numpy())[None] for unit in drawn)
    for machine in ("", "CT", "MR"):
        for found in (diagnose(one, machine=machine), diagnose(one, [one, two], machine=machine)):
            (shared,) = with_shared_textures([found], [""], [machine])
            by_rays = machine == "CT" or (machine == "" and shared.level.texture.is_projected)
            assert (shared.level.rays > 0.006) == by_rays
            assert ("rays" in choose([shared]).noise) == by_rays
            assert by_rays or machine == "MR" or texture == smoothed(1)
    white = disc + 0.05 * np.random.default_rng(0).standard_normal((1, 256, 256)).astype(np.float32)
    assert diagnose(white, machine="CT").level.rays == 0


def test_noise_of_an_oblong_object_has_the_texture_of_projections() -> None:
    """It is stronger along one axis: taken as it is, the differences look like those of a smoothing that is wider
    along that.
    """
    true = Texture(radial=(0.4, 2.0, 0.0))
    row, column = np.ogrid[:256, :256]
    oblong = (np.hypot((row - 127.5) / 120, (column - 127.5) / 60) < 1).astype(np.float32)
    unit = draw_along(amplitudes_over(oblong, 0.012), true, torch.Generator().manual_seed(0)).numpy()
    (found,) = with_shared_textures([diagnose((oblong + 0.05 * unit)[None], machine="CT")], [""], ["CT"])
    assert np.abs(power(found.level.texture, 64, 64) - power(true, 64, 64)).mean() < 0.05
    assert found.level.typical == pytest.approx(0.05, rel=0.1)


def test_magnitudes_go_by_no_rays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "rays_of", lambda *_: 0.01)
    noise = draw((2, 128, 128), Texture(radial=(0.36, 2.0, 0.0)), torch.Generator().manual_seed(0)).numpy()
    noisy = mni_slices(60, 2, 10)[:, 40:168, 40:168] + 0.06 * noise
    assert diagnose(noisy, machine="CT").level.rays == 0.01
    monkeypatch.setattr(diagnosis, "trend_of", lambda *_: Trend("rician"))  # whatever the texture looks like
    assert diagnose(noisy, machine="CT").level.rays == 0


@pytest.mark.parametrize("sigma", [6, 15])
def test_the_texture_of_rician_noise_is_that_of_the_background(sigma: int) -> None:
    """Taken from anatomy, for all scans alike, it was 0.45 and 0.25 off."""
    clean = torch.nn.functional.pad(torch.from_numpy(mni_slices(60, 6, 10)), (24, 24, 24, 24))
    generator, true = torch.Generator().manual_seed(0), smoothed(0.6)
    real, imaginary = (sigma / 255 * draw(tuple(clean.shape), true, generator) for _ in range(2))
    alone = [diagnose(image[None]) for image in torch.hypot(clean + real, imaginary).numpy()]
    for one in with_shared_textures(alone, ["MR"] * 6, ["MR"] * 6):
        assert np.abs(power(one.level.texture, 64, 64) - power(true, 64, 64)).mean() < 0.15


def test_white_noise_beside_correlated_noise_is_the_objects_where_it_is_to_be_kept() -> None:
    level = NoiseLevel((0.0, 1.0), (0.1, 0.2), 3, replace(smoothed(1.2), grain=0.19))
    measured = found(level, "gaussian")
    assert as_given(make_config("fast", {}), measured, (0.0, 1.0)).level == level
    kept = as_given(make_config("fast", {"grain": "keep"}), measured, (0.0, 1.0)).level
    assert kept.texture == smoothed(1.2)
    assert kept.sigma == pytest.approx((0.09, 0.18))
    sigma = as_given(make_config("fast", {"grain": "keep", "sigma": 0.3}), measured, (0.0, 1.0)).level
    assert (sigma.sigma, sigma.texture) == ((0.3,), smoothed(1.2))  # of the noise that is to be removed


def test_that_grain_is_removed_is_told_where_there_is_some() -> None:
    grainy, plain = (
        found(replace(constant_level(0.1), reach=3, texture=replace(smoothed(1.2), grain=grain)), "gaussian")
        for grain in (0.12, 0.02)
    )
    said = " ".join(told(make_config("fast", {}), choose([grainy, grainy, plain])))
    assert "12% of its variance" in said
    assert "setting grain" in said
    assert "setting grain" not in " ".join(told(make_config("fast", {"grain": "keep"}), choose([grainy])))
    assert "grain" not in choose([plain, plain, grainy]).why
