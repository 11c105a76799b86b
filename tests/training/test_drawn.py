from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diffdenoise.noise.estimate import NoiseLevel, constant_level
from diffdenoise.noise.phases import turned_by
from diffdenoise.noise.spatial import EVEN, Variation
from diffdenoise.noise.texture import Texture, draw, smoothed
from diffdenoise.noise.trend import rician_level
from diffdenoise.training import drawn as module
from diffdenoise.training.combinations import CombinationStore
from diffdenoise.training.drawn import MOST_FRAMES, Drawer, draw_noise
from diffdenoise.training.slices import Box, SliceStore, cut, write_scan_slices
from diffdenoise.training.stage import generator_of

BAND = Texture(("band", 0.5), ("band", 0.5))
MAGNITUDES = rician_level(1.0, replace(constant_level(1.0), texture=BAND, reach=2))


def store(folder: Path, scans: int) -> SliceStore:
    draw = np.random.default_rng(0)
    for number in range(scans):
        write_scan_slices(folder, number, draw.standard_normal((2, 1, 48, 48)).astype(np.float32))
    return SliceStore(folder)


def magnitudes(folder: Path) -> SliceStore:
    """Two slices of correlated Rician noise, whose signal rises from 0 on the left to 3 sigma on the right."""
    real, imaginary = (draw((2, 1, 96, 96), BAND, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    write_scan_slices(folder, 0, torch.complex(torch.linspace(0, 3, 96) + real, imaginary).abs().numpy())
    return SliceStore(folder)


@pytest.mark.parametrize("turn", range(8))
def test_the_phases_of_a_slice_are_found_once_and_turn_with_its_crops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    asked, found = [], []

    def spied(*given: object) -> torch.Tensor:
        asked.append(given)
        found.append(turned_by(*given))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr(module, "turned_by", spied)
    monkeypatch.setattr(module, "draw_by", lambda turned, *_: turned)
    drawer = Drawer(magnitudes(tmp_path), [MAGNITUDES], seed=0)
    boxes = [Box(0, 0, row, column, 40, turn) for row, column in ((0, 0), (30, 50))]
    crops = [drawer.draw(box, torch.Generator()) for box in boxes]
    assert len(found) == 1
    assert all(given[3].initial_seed() != generator_of(0, step).initial_seed() for given in asked for step in range(3))
    for crop, box in zip(crops, boxes, strict=True):
        np.testing.assert_array_equal(crop[0], cut(found[0][0].numpy(), box))


@pytest.mark.parametrize("variation", [EVEN, Variation(((0.0, 0.0), (0.3, 0.0)), 0.5, 2.0)])
def test_z_by_a_slices_phases_is_like_z_by_those_of_the_crop(tmp_path: Path, variation: Variation) -> None:
    level = replace(MAGNITUDES, variation=variation)
    noisy, box, generator = magnitudes(tmp_path), Box(0, 0, 20, 4, 64, 0), torch.Generator().manual_seed(2)
    drawer = Drawer(noisy, [level], seed=0)
    assert drawer.keeps
    by_slice = torch.cat([drawer.draw(box, generator) for _ in range(200)])
    by_crop = torch.cat([draw_noise(noisy, level, box, generator) for _ in range(200)])
    for z in (by_slice, by_crop):  # darker on the left, where the noise of magnitudes is weaker
        assert z[..., :16].std() < 0.8 * z[..., -16:].std()
    assert float(by_slice.std()) == pytest.approx(float(by_crop.std()), rel=0.03)
    beside = [float((z[..., 1:] * z[..., :-1]).mean() / z.square().mean()) for z in (by_slice, by_crop)]
    assert beside[0] == pytest.approx(beside[1], abs=0.03)
    above, below = (float(by_slice[..., rows, :].std()) for rows in (slice(16), slice(-16, None)))
    assert below / above == pytest.approx(1 if variation.is_even else 1.33, abs=0.15)


def test_a_crop_has_the_same_noise_whichever_was_drawn_before(tmp_path: Path) -> None:
    """Or a training that is resumed would not go on as it had begun."""
    noisy, box = magnitudes(tmp_path), Box(0, 1, 3, 5, 40, 3)
    draw = lambda drawer: drawer.draw(box, torch.Generator().manual_seed(7))  # noqa: E731
    fresh, used = Drawer(noisy, [MAGNITUDES], seed=0), Drawer(noisy, [MAGNITUDES], seed=0)
    used.draw(Box(0, 0, 0, 0, 40, 1), torch.Generator())
    assert torch.equal(draw(fresh), draw(used))
    assert not torch.equal(draw(fresh), draw(Drawer(noisy, [MAGNITUDES], seed=1)))


@pytest.mark.parametrize("why", ["too many pixels", "sums of frames", "other noise"])
def test_elsewhere_each_crop_is_drawn_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    noisy, level = magnitudes(tmp_path), MAGNITUDES
    if why == "too many pixels":
        monkeypatch.setattr(module, "KEPT", 2 * 96 * 96 - 1)
    elif why == "sums of frames":
        noisy = CombinationStore(SliceStore(tmp_path, [2]), [np.full((1, 2), 0.5, np.float32)])
    else:
        level = constant_level(1.0)
    drawer, box = Drawer(noisy, [level], seed=0), Box(0, 0, 0, 0, 40, 0)
    z = drawer.draw(box, torch.Generator().manual_seed(3))
    assert torch.equal(z, draw_noise(noisy, level, box, torch.Generator().manual_seed(3)))
    assert drawer.phases.cache_info().currsize == 0


def test_each_scan_has_its_own_noise(tmp_path: Path) -> None:
    levels = [NoiseLevel((0.0,), (0.0,)), NoiseLevel((0.0,), (2.0,), 2, smoothed(1.0, 0.0))]
    noisy = store(tmp_path, 2)
    assert not draw_noise(noisy, levels[0], Box(0, 0, 0, 0, 48, 0), torch.Generator()).any()
    for turn in range(8):
        z = draw_noise(noisy, levels[1], Box(1, 0, 0, 0, 48, turn), torch.Generator())
        assert z.std() == pytest.approx(2, rel=0.2)
        along, other = (z[..., 1:, :] * z[..., :-1, :]).mean(), (z[..., 1:] * z[..., :-1]).mean()
        assert max(along, other) > 0.5 * z.var()  # correlated one way, and that way turns with the crop
        assert (along > other) == (turn % 2 == 0)


@pytest.mark.parametrize("turn", range(8))
def test_noise_is_drawn_as_strong_as_its_place_in_the_image_says(tmp_path: Path, turn: int) -> None:
    variation = Variation(((0.0, 0.4), (-0.3, 0.0)), 0.1, 9.0)
    level = NoiseLevel((0.0,), (1.0,), variation=variation)
    noisy = store(tmp_path, 1)
    box = Box(scan=0, slice=1, row=7, column=20, side=24, turn=turn)
    drawn = [draw_noise(noisy, level, box, torch.Generator().manual_seed(seed)) for seed in range(400)]
    expected = cut(variation.over((48, 48))[None], box)[0]
    assert torch.cat(drawn).std((0, 1)).numpy() == pytest.approx(expected, rel=0.2)
    assert np.corrcoef(torch.cat(drawn).std((0, 1)).numpy().ravel(), expected.ravel())[0, 1] > 0.9


def test_a_component_of_many_frames_has_the_noise_of_them_all(tmp_path: Path) -> None:
    """Though it is drawn from those of the largest weights."""
    frames = 20
    assert frames > MOST_FRAMES
    images = 1 + 1e-3 * np.random.default_rng(0).standard_normal((frames, 1, 48, 48))
    write_scan_slices(tmp_path, 0, images.astype(np.float32))
    component = np.full((1, frames), frames**-0.5, np.float32)
    noisy = CombinationStore(SliceStore(tmp_path, [frames]), [component])
    draw = torch.Generator().manual_seed(0)
    drawn = [draw_noise(noisy, constant_level(0.1), Box(0, 0, 0, 0, 48, 0), draw) for _ in range(40)]
    assert torch.cat(drawn).std() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("turn", range(8))
def test_noise_by_rays_turns_with_its_crops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turn: int) -> None:
    draws = np.random.default_rng(0)
    row, column = np.ogrid[:96, :96]
    image = (np.hypot(row - 47.5, column - 47.5) < 40) + 0.1 * draws.standard_normal((96, 96))
    write_scan_slices(tmp_path, 0, image[None, None].astype(np.float32))
    store, level = SliceStore(tmp_path), replace(constant_level(0.1), texture=Texture(radial=(0.4, 2.0, 0.0)), reach=1)
    drawer = Drawer(store, [replace(level, rays=0.03)], seed=0)
    box = Box(0, 0, 10, 40, 48, turn)
    as_it_lies = drawer.draw(replace(box, turn=0), torch.Generator().manual_seed(1))
    turned = drawer.draw(box, torch.Generator().manual_seed(1))
    np.testing.assert_allclose(turned[0], cut(as_it_lies[0].numpy(), replace(box, row=0, column=0)), atol=1e-6)
    once = draw_noise(store, drawer.levels[0], box, torch.Generator().manual_seed(1))
    torch.testing.assert_close(once, turned)  # found anew
    even = draw_noise(store, level, box, torch.Generator().manual_seed(1))
    assert not torch.allclose(even, turned, atol=0.01)


def test_along_the_rim_noise_by_rays_is_stronger_than_across_it(tmp_path: Path) -> None:
    row, column = np.ogrid[:128, :128]
    disc = (np.hypot(row - 63.5, column - 63.5) < 60).astype(np.float32) + 0.01 * draw(
        (128, 128), smoothed(0), torch.Generator().manual_seed(5)
    ).numpy()
    write_scan_slices(tmp_path, 0, disc[None, None].astype(np.float32))
    level = replace(constant_level(0.1), texture=Texture(radial=(0.4, 2.0, 0.0)), reach=1, rays=0.02)
    drawer = Drawer(SliceStore(tmp_path), [level], seed=0)
    for box, along in ((Box(0, 0, 48, 92, 32, 0), 0), (Box(0, 0, 48, 92, 32, 1), 1), (Box(0, 0, 4, 48, 32, 0), 1)):
        crops = [drawer.draw(box, torch.Generator().manual_seed(seed))[0, 0].numpy() for seed in range(60)]
        power = np.mean([np.abs(np.fft.fft2(crop)) ** 2 for crop in crops], axis=0)
        down, across = power[4:12, :3].mean(), power[:3, 4:12].mean()
        stronger, weaker = (down, across) if along == 0 else (across, down)
        assert stronger > 1.5 * weaker
