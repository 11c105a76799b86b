from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.inference import domain_of
from diffdenoise.model import Model, Round
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.noise.models import correlated, gaussian
from diffdenoise.noise.texture import Texture, correlation, draw, may_come_from, smoothed
from diffdenoise.phantom import mni_slices
from diffdenoise.preparation import Slices, Source, prepare
from diffdenoise.presets import make_config
from diffdenoise.scans.scan import Scan
from tests.conftest import noisy_disks

HEAD = torch.from_numpy(mni_slices(40, 4, 10))[:, ::3, ::3]  # pixels of 3 mm: anatomy passes for noise
OTHER = 1 - HEAD


def prepared(folder: Path, *scans: Scan, sigma: float | None = None) -> Slices:
    sources = [Source(str(number), lambda scan=scan: scan) for number, scan in enumerate(scans)]
    config = make_config("smoke", {"normalisation": "fixed", "sigma": sigma})
    return prepare(sources, config, folder, lambda *_: None)


def noisy(clean: torch.Tensor, seed: int) -> np.ndarray:
    return gaussian(clean, 0.01, torch.Generator().manual_seed(seed)).numpy()


def loudest(slices: Slices) -> list[float]:
    """The most that each scan's noise is found to be, in units of what was added."""
    return [100 * slices.normalisation.scale * max(level.sigma) for level in slices.levels]


def test_noise_is_measured_on_what_was_imaged_twice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="diffdenoise")
    alone = loudest(prepared(tmp_path / "alone", Scan(noisy(HEAD, 0), "a", "npy")))
    assert alone[0] > 2
    assert "imaged again" not in caplog.text
    two = Scan(noisy(HEAD, 0), "a", "npy"), Scan(noisy(HEAD, 1), "b", "npy")
    series = Scan(np.concatenate([noisy(HEAD, 0), noisy(HEAD, 1)]), "c", "npy", frames=2)
    other = Scan(noisy(OTHER, 2), "d", "npy")
    for name, scans in {"two": two, "series": (series,), "among others": (other, *two)}.items():
        found = loudest(prepared(tmp_path / name, *scans))
        assert found[-2:] == pytest.approx([1] * min(2, len(scans)), rel=0.3)
        assert "imaged again" in caplog.text
        caplog.clear()


def test_scans_that_repeat_one_another_show_together_where_their_noise_is_stronger(tmp_path: Path) -> None:
    clean = torch.from_numpy(mni_slices(40, 1, 10))
    down, across = (torch.linspace(-1, 1, side) ** 2 for side in clean.shape[1:])
    strength = 0.03 * 1.4 ** (1 - (down[:, None] + across) / 2)  # 1.4 times as strong in the middle as in the corners
    seeds, ramp = torch.Generator().manual_seed(0), Texture(radial=(0.36, 2.0, 0.0))
    shots = [(clean + strength * draw(tuple(clean.shape), ramp, seeds)).numpy() for _ in range(6)]
    scans = [Scan(shot, str(number), "npy") for number, shot in enumerate(shots)]

    def off(level: NoiseLevel) -> float:
        found = np.log(level.variation.over(clean.shape) / strength.numpy())
        return float((found - found.mean()).std())

    two, six = (prepared(tmp_path / str(count), *scans[:count]).levels for count in (2, 6))
    assert max(map(off, six)) < 0.02
    assert min(map(off, two)) > 0.05  # what chance shows in so few places is as much


def test_a_level_that_is_given_leaves_the_correlation_to_be_found(tmp_path: Path) -> None:
    image = correlated(torch.from_numpy(mni_slices(40, 4, 10)), 0.1, 0.8, torch.Generator().manual_seed(0)).numpy()
    slices = prepared(tmp_path, Scan(image, "a", "npy"), sigma=0.2)
    (level,) = slices.levels
    assert level.typical * slices.normalisation.scale == pytest.approx(0.2)
    assert correlation(level.texture)[1, 0] == pytest.approx(correlation(smoothed(0.8))[1, 0], abs=0.05)
    assert level.reach >= 1


@pytest.mark.parametrize(
    ("units", "mode"),
    [
        (["HU", "HU"], "fixed"),
        (["8-bit"], "fixed"),
        (["HU", "8-bit"], "noise"),
        (["HU", "arbitrary"], "noise"),
        (["arbitrary"], "noise"),
    ],
)
def test_a_scale_is_common_to_scans_of_one_unit_alone(tmp_path: Path, units: list[str], mode: str) -> None:
    scans = [Scan(noisy(HEAD, seed), "a", "npy", units=unit) for seed, unit in enumerate(units)]
    sources = [Source(str(number), lambda scan=scan: scan) for number, scan in enumerate(scans)]
    assert prepare(sources, make_config("smoke"), tmp_path, lambda *_: None).normalisation.mode == mode


@pytest.mark.parametrize(
    ("floor", "sigma", "warned"), [("remove", None, True), ("remove", 0.01, False), ("auto", None, False)]
)
def test_a_floor_of_noise_that_has_none_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, floor: str, sigma: float | None, warned: bool
) -> None:
    config = make_config("smoke", {"noise_floor": floor, "sigma": sigma})
    prepare([Source("a", lambda: Scan(noisy(HEAD, 0), "a", "npy"))], config, tmp_path, lambda *_: None)
    assert ("is then a guess" in caplog.text) == warned


def test_axes_that_are_doubted_are_told_with_the_scan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scans = [Scan(noisy_disks(1), str(number), "npy", doubt="Look." if number else "") for number in range(3)]
    prepared(tmp_path, *scans)
    assert "Look. (2 of 3 scans: 1, 2)" in caplog.text


@pytest.mark.parametrize("sides", [(15, 64), (15,)])
def test_scans_that_are_too_small_to_learn_from_are_told_beside_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sides: tuple[int, ...]
) -> None:
    prepared(tmp_path, *(Scan(noisy_disks(1, side, 40), f"{side}.npy", "npy") for side in sides))
    assert ("From 1 of 2 scans (15.npy) nothing is learned" in caplog.text) == (len(sides) == 2)


def test_a_fault_that_many_scans_have_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each with figures of its own in the words for it."""
    caplog.set_level("WARNING", logger="diffdenoise")
    clean, generator = torch.from_numpy(mni_slices(40, 2, 10)), torch.Generator().manual_seed(0)
    quiet = [gaussian(clean, 0.0002 * strength, generator).numpy() for strength in (1, 2, 3)]
    prepared(tmp_path, *(Scan(pixels, "a", "npy") for pixels in quiet))
    told = [record.getMessage() for record in caplog.records if "next to no noise" in record.getMessage()]
    assert len(told) == 1
    assert "3 of 3 scans" in told[0]


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ([("HU", "CT"), ("arbitrary", "MR"), ("arbitrary", "MR")], "2 MR, 1 CT."),
        ([("arbitrary", "PT"), ("arbitrary", "MR")], "1 PT, 1 MR."),
        ([("HU", ""), ("arbitrary", "")], "1 CT, 1 that do not say what they are."),
        ([("HU", "CT"), ("8-bit", "")], "1 CT, 1 that do not say what they are."),
        ([("HU", "CT"), ("HU", "")], None),
        ([("arbitrary", "MR"), ("arbitrary", "")], None),
        ([("arbitrary", "MR"), ("arbitrary", "OT")], None),
        ([("arbitrary", "CR"), ("arbitrary", "DX")], None),
        ([("arbitrary", ""), ("8-bit", "")], None),
    ],
)
def test_scans_of_several_kinds_are_warned_of_once_each_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kinds: list[tuple[str, str]], said: str | None
) -> None:
    scans = [
        Scan(noisy(HEAD, seed), "a", "npy", units=units, modality=modality)
        for seed, (units, modality) in enumerate(kinds)
    ]
    for _ in range(2):  # the second time from what the run folder keeps
        caplog.clear()
        prepared(tmp_path, *scans)
        told = [record.getMessage() for record in caplog.records if "several kinds" in record.getMessage()]
        assert len(told) == (said is not None)
        assert all(said in message and "Fit each kind apart" in message for message in told if said)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["sub-1_T1w", "sub-2_T1w", "sub-1_task-rest_bold"], "2 T1w, 1 bold."),
        (["sub-1_T1w", "sub-2_T1w"], None),
        (["sub-1_T1w", "knee"], None),
    ],
)
@pytest.mark.parametrize("in_data_set", [True, False])
def test_kinds_are_told_by_bids_names_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: list[str], said: str | None, in_data_set: bool
) -> None:
    if in_data_set:
        (tmp_path / "dataset_description.json").write_text("{}")
    paths = [tmp_path / f"{name}.nii.gz" for name in names]
    prepared(tmp_path, *(Scan(noisy(HEAD, seed), "a", "nifti", (path,)) for seed, path in enumerate(paths)))
    told = [record.getMessage() for record in caplog.records if "several kinds" in record.getMessage()]
    assert len(told) == (in_data_set and said is not None)
    assert all(said in message for message in told if said)


@pytest.mark.parametrize(
    ("given", "student", "warned"),
    [
        (["volume", "series", "volume"], {}, "2 of 3 scans"),
        (["series"], {}, None),
        (["volume"], {}, None),
        (["slice", "series"], {}, None),
        (["volume", "series"], {"series": False}, None),
        (["volume", "series"], {"neighbours": 0}, None),
    ],
)
def test_volumes_beside_a_series_are_warned_of_where_they_lose_their_neighbours(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, given: list[str], student: dict[str, int], warned: str | None
) -> None:
    clean = torch.from_numpy(mni_slices(60, 4, 1))[:, ::2, ::2]
    frames = np.concatenate([gaussian(clean, 0.1, torch.Generator().manual_seed(seed)).numpy() for seed in range(4)])
    scans = {
        "volume": Scan(frames[:4], "a", "npy"),
        "slice": Scan(frames[:1], "a", "npy"),
        "series": Scan(frames, "a", "npy", frames=4),
    }
    sources = [Source(f"{number} {name}", lambda name=name: scans[name]) for number, name in enumerate(given)]
    for _ in range(2):  # the second time from what the run folder keeps
        caplog.clear()
        slices = prepare(sources, make_config("fast", {"student": student}), tmp_path, lambda *_: None)
        told = [record.getMessage() for record in caplog.records if "There is a series" in record.getMessage()]
        assert len(told) == (warned is not None)
        assert all(warned in message and "Fit each kind apart" in message for message in told if warned)
        assert not (warned and slices.config.student.neighbours)


@pytest.mark.parametrize(("student", "alone"), [({}, [False, True, False]), ({"neighbours": 1}, [False] * 3)])
def test_a_scan_whose_slices_share_noise_has_no_neighbours_unless_they_are_asked_for(
    tmp_path: Path, student: dict[str, int], alone: list[bool]
) -> None:
    clean = torch.from_numpy(mni_slices(60, 12, 1))[:, ::2, ::2]
    noise = torch.randn(3, 14, *clean.shape[1:], generator=torch.Generator().manual_seed(0))
    shared = (noise[1, :-2] + noise[1, 1:-1] + noise[1, 2:]) / 3**0.5  # as interpolation along the slices makes it
    volumes = [clean + 0.1 * each for each in (noise[0, 1:-1], shared, noise[2, 1:-1])]
    sources = [Source(str(n), lambda v=v: Scan(v.numpy(), "a", "npy")) for n, v in enumerate(volumes)]
    slices = prepare(sources, make_config("fast", {"student": student}), tmp_path, lambda *_: None)
    assert slices.config.student.neighbours == 1
    assert slices.store.alone == alone


@pytest.mark.parametrize("normalisation", ["fixed", "noise", "scan"])
def test_what_is_far_out_of_a_scan_is_tamed_in_the_fit_as_it_is_afterwards(tmp_path: Path, normalisation: str) -> None:
    """A hot pixel, and padding beside the field of view."""
    pixels = noisy_disks()
    pixels[1, 20, 24] = 65000
    pixels[:, :, :5] = -32768
    sources = [Source("a", lambda: Scan(pixels, "a", "npy"))]
    slices = prepare(sources, make_config("fast", {"normalisation": normalisation}), tmp_path, lambda *_: None)
    model = Model(slices.config, slices.normalisation, ChainTarget("image"), None, (Round(None, nn.Identity()),))
    learned_from = slices.store.arrays[0][:, 0]
    np.testing.assert_allclose(learned_from, domain_of(model, pixels).into(pixels), atol=1e-5)
    assert np.ptp(learned_from) < 4 * np.ptp(learned_from[0, :, 5:])


@pytest.mark.parametrize("modality", ["", "MR"])
def test_single_slices_of_a_kind_come_to_one_texture_that_their_machine_can_make(tmp_path: Path, modality: str) -> None:
    """Alone, one of them shows another one by chance."""
    clean, generator = torch.from_numpy(mni_slices(40, 2, 8)), torch.Generator().manual_seed(0)
    projected = Texture(radial=(0.3, 2.0, 0.0))
    images = [(image + 0.1 * draw(tuple(image.shape), projected, generator)).numpy()[None] for image in clean]
    levels = prepared(tmp_path, *(Scan(image, "a", "npy", modality=modality) for image in images)).levels
    assert len({level.texture for level in levels}) == 1
    assert all(may_come_from(level.texture, "MR") == (modality == "MR") for level in levels)


def test_of_which_scans_the_noise_is_known_exactly_is_kept(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).poisson(200 * mni_slices(60, 4, 10)).astype(np.float32)
    scans = Scan(noisy(OTHER, 0), "a", "npy"), Scan(counts, "b", "npy")
    for _ in range(2):  # the second time from what the run folder keeps
        assert prepared(tmp_path, *scans).counted == [False, True]


def test_what_is_wrong_with_some_scans_names_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pixels = {f"{name}.npy": noisy_disks(1, 128, 128, seed=seed) for seed, name in enumerate("abc")}
    pixels["b.npy"] = pixels["b.npy"].clip(0.2)  # the brightness of its ground
    for _ in range(2):  # the second time from what the run folder keeps
        caplog.clear()
        prepared(tmp_path, *(Scan(image, name, "npy") for name, image in pixels.items()))
        assert "noise was clipped" in caplog.text
        assert "(1 of 3 scans: b.npy)" in caplog.text


def test_scans_too_small_to_learn_from_do_not_count_in_what_is_decided(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="diffdenoise")
    large, small = (Scan(noisy_disks(2, side, side), str(side), "npy") for side in (128, 12))
    said = []
    for name, scans in {"large": (large,), "with small": (small, large, small)}.items():
        caplog.clear()
        prepared(tmp_path / name, *scans)
        said.append(next(of.getMessage() for of in caplog.records if "standard deviation" in of.getMessage()))
    assert said[0] == said[1]
