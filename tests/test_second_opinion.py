from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from diffdenoise.crops import SIDE, Crop, middle_of, objects
from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.errors import ConfigError
from diffdenoise.inference import denoise_slices
from diffdenoise.model import Model, Round
from diffdenoise.model_file import load_model, save_model
from diffdenoise.noise.estimate import NoiseLevel, constant_level
from diffdenoise.noise.spatial import Variation
from diffdenoise.noise.texture import draw, smoothed
from diffdenoise.noise.trend import counting_level, rician_level
from diffdenoise.normalisation import Normalisation
from diffdenoise.preparation import Slices, Source, prepare
from diffdenoise.presets import make_config
from diffdenoise.scans.scan import Scan
from diffdenoise.second_opinion import LEAST, WEAKER, SecondOpinion, Shares
from diffdenoise.settled import require_second_opinion, second_opinion_of, settled
from diffdenoise.training.slices import SMALLEST_CROP
from diffdenoise.training.student import make_student

SIGMA, NONE = 0.15, Shares(0.0, 0.0)
NOISE = NoiseLevel((0.1, 0.5), (0.08, 0.1), 2, smoothed(0.5), variation=Variation(((0.0, 0.1), (0.2, 0.0)), 0.8, 1.25))


class Blurs(nn.Module):
    """What it sees first, over squares of 3 pixels: it loses what is fine."""

    def forward(self, x: Tensor) -> Tensor:
        return avg_pool2d(x[:, :1], 3, 1, 1, count_include_pad=False)


class Knows(nn.Module):
    """The truth."""

    def __init__(self, truth: np.ndarray) -> None:
        super().__init__()
        self.truth = torch.from_numpy(truth)[None, None]

    def forward(self, x: Tensor) -> Tensor:
        return self.truth.to(x)


def striped(slices: int = 4, side: int = 96) -> np.ndarray:
    row, column = np.mgrid[:side, :side]
    return np.stack([(np.sin(0.9 * row + 0.6 * column + k) > 0.3) for k in range(slices)]).astype(np.float32)


def noisy(clean: np.ndarray, seed: int = 0) -> np.ndarray:
    return (clean + SIGMA * np.random.default_rng(seed).standard_normal(clean.shape)).astype(np.float32)


def fitted(folder: Path, pixels: np.ndarray, student: nn.Module, frames: int = 1) -> tuple[Model, Slices]:
    config = make_config("fast", {"student": {"neighbours": 0, "series": False}, "sigma": SIGMA})
    source = Source("a", lambda: Scan(pixels, "a", "npy", frames=frames))
    slices = prepare([source], config, folder, lambda *_: None)
    return Model(slices.config, slices.normalisation, ChainTarget("image"), None, (Round(None, student),)), slices


def test_a_student_that_loses_what_repeats_is_corrected_by_so_much_that_errors_fall(tmp_path: Path) -> None:
    clean = striped()
    model, slices = fitted(tmp_path, noisy(clean), Blurs())
    second = second_opinion_of(model, slices, "cpu")
    assert second is not None
    assert 0.5 < second.shares.object <= 1
    assert error_asked(replace(model, second_opinion=second), clean[:1]) < 0.5 * error_asked(model, clean[:1])


def test_on_a_scan_that_the_student_fails_it_counts_though_it_added_nothing_to_those_of_the_fit(tmp_path: Path) -> None:
    clean = striped()
    model, _ = fitted(tmp_path, noisy(clean), Blurs())
    asking = replace(model, second_opinion=SecondOpinion(NONE, constant_level(SIGMA)))
    assert error_asked(asking, clean[:1]) < 0.5 * error_asked(model, clean[:1])


@pytest.mark.parametrize("times", [1.5, 2.0])
def test_noise_that_is_stronger_than_that_of_the_fit_is_not_put_back(tmp_path: Path, times: float) -> None:
    """What is above its level would stand out, be kept, and pass for what the student lost."""
    clean = gaussian_filter(striped(2), (0, 2, 2))
    model, _ = fitted(tmp_path, noisy(clean), nn.AvgPool2d(7, 1, 3, count_include_pad=False))
    asking = replace(model, second_opinion=SecondOpinion(NONE, constant_level(SIGMA)))
    strong = (clean + times * (noisy(clean, seed=1) - clean)).astype(np.float32)
    error = [float(((denoise_slices(it, strong).pixels - clean) ** 2).mean()) for it in (asking, model)]
    assert error[0] < 1.02 * error[1]


@pytest.mark.parametrize("times", [0.3, 0.5])
def test_in_a_fixed_unit_it_goes_by_the_noise_of_a_scan_that_has_less_than_the_fit(
    tmp_path: Path, times: float
) -> None:
    """Or it would smooth by the noise of the fit, and its share would hold what both have seen of the scan's."""
    clean = 0.5 * striped(2)
    model, _ = fitted(tmp_path, noisy(clean), nn.Identity())
    config = model.config.model_copy(update={"sigma": None})
    in_unit = replace(model, config=config, normalisation=Normalisation("fixed"))
    weak = (clean + times * (noisy(clean, seed=1) - clean)).astype(np.float32)
    asking = [
        replace(in_unit, second_opinion=SecondOpinion(Shares(1.0, 1.0), constant_level(level)))
        for level in (SIGMA, times * SIGMA)
    ]
    of_fit, of_scan = (float(((denoise_slices(it, weak).pixels - clean) ** 2).mean()) for it in asking)
    assert of_fit < 1.1 * of_scan


@given(st.floats(0.05, 3), st.floats(0.01, 1))
def test_noise_that_is_clearly_weaker_counts_as_it_is_and_any_other_as_that_of_the_fit(
    times: float, sigma: float
) -> None:
    level = NoiseLevel((0.0, 1.0), (sigma, 2 * sigma))
    second = SecondOpinion(NONE, level)
    found = second.for_noise(NoiseLevel((0.25, 0.75), (1.25 * times * sigma, 1.75 * times * sigma)))
    assert found.level.sigma == pytest.approx([(times if times < WEAKER else 1) * s for s in level.sigma])


@given(st.floats(0.5, 1.5), st.floats(0.5, 3))
@settings(max_examples=10)
def test_single_counts_are_not_taken_for_stronger_noise(counts: float, to_a_unit: float) -> None:
    first = torch.full((1, 1, 64, 64), counts / to_a_unit)
    x_noisy = torch.poisson(counts * torch.ones_like(first), torch.Generator().manual_seed(0)) / to_a_unit
    second = SecondOpinion(NONE, counting_level(to_a_unit, 2 * counts / to_a_unit))
    torch.testing.assert_close(second.about(x_noisy, first), second.about(x_noisy, first, over=1.0))


def test_about_what_is_smaller_than_any_crop_nothing_is_said(tmp_path: Path) -> None:
    model, _ = fitted(tmp_path, noisy(striped()), Blurs())
    asking = replace(model, second_opinion=SecondOpinion(Shares(1.0, 1.0), constant_level(SIGMA)))
    small = noisy(striped(2, SMALLEST_CROP - 1))
    np.testing.assert_array_equal(denoise_slices(asking, small).pixels, denoise_slices(model, small).pixels)


def error_asked(model: Model, clean: np.ndarray) -> float:
    return float(((denoise_slices(model, noisy(clean, seed=1)).pixels - clean) ** 2).mean())


def test_who_knows_the_truth_is_not_asked_again(tmp_path: Path) -> None:
    clean = np.repeat(striped(1), 8, axis=0)
    model, slices = fitted(tmp_path, noisy(clean), nn.Identity())
    offset, scale = slices.scales[0]
    knowing = replace(model, rounds=(Round(None, Knows((clean[0] - offset) / scale)),))
    white = replace(slices, levels=[constant_level(SIGMA / scale)])  # the stripes are taken for a texture of the noise
    second = second_opinion_of(knowing, white, "cpu")
    assert second is not None
    assert second.shares == NONE
    asked, alone = (
        denoise_slices(it, noisy(clean)).pixels for it in (replace(knowing, second_opinion=second), knowing)
    )
    np.testing.assert_array_equal(asked, alone)


@given(st.floats(-0.2, 1.2))
@settings(max_examples=10)
def test_the_share_is_what_the_clean_image_would_tell(best: float) -> None:
    """f is off by -best d, and c by (1 - best) d: the mean that is right has the share `best` of c."""
    shares = shares_of(torch.from_numpy(striped(1, SIDE))[None], best)
    for share in shares:
        assert share == pytest.approx(min(best, 1), abs=0.05) if best > LEAST + 0.05 else share < LEAST + 0.05


@pytest.mark.parametrize("sign", [-1, 1])
def test_where_noise_has_a_texture_a_level_that_is_too_high_hardly_moves_the_share(sign: int) -> None:
    """c lets more of the coarse noise through than f, or less: with a level that is too high that passes for error."""
    clean = torch.from_numpy(striped(1, SIDE))[None]
    d = 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    texture = smoothed(1.2)
    x_noisy = clean + SIGMA * draw(clean.shape, texture, torch.Generator().manual_seed(2))

    def let_through(given: Tensor) -> Tensor:
        return 0.3 * torch.from_numpy(gaussian_filter((given - clean).numpy(), (0, 0, 1, 1)))

    def share(over: float) -> float:
        second = SecondOpinion(NONE, NoiseLevel((0.0,), (over * SIGMA,), 3, texture))
        crops = [middle_of(x_noisy, [True], second.level, 3)]
        student = lambda given: clean - 0.4 * d + (sign < 0) * let_through(given)  # noqa: E731
        return second.borne_out(student, crops, "cpu").object

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SecondOpinion, "about", lambda self, given, first, over: first + d + sign * let_through(given))
        right, too_high = share(1.0), share(1.1)
    assert right == pytest.approx(0.4, abs=0.05)
    assert too_high == pytest.approx(right, abs=0.05)  # 0.09 off, were the differences not made about white


def test_a_level_that_anatomy_made_too_high_hardly_moves_the_share() -> None:
    """c lets through two fifths of the noise, f nothing: with z too strong that would pass for error."""
    clean, draw = torch.from_numpy(striped(1, SIDE))[None], torch.Generator().manual_seed(1)
    d = 0.05 * torch.randn(clean.shape, generator=draw)
    x_noisy = clean + SIGMA * torch.randn(clean.shape, generator=draw)

    def share(over: float) -> float:
        second = SecondOpinion(NONE, constant_level(over * SIGMA))
        return second.borne_out(lambda given: clean - d, [middle_of(x_noisy, [True], second.level, 3)], "cpu").object

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SecondOpinion, "about", lambda self, given, first, over: first + d + 0.4 * (given - clean))
        right, too_high = share(1.0), share(1.08)
    assert too_high == pytest.approx(right, abs=0.05)  # 0 were it believed: too little to be clear


def test_the_object_and_its_background_have_shares_of_their_own() -> None:
    """As above: right is a share of 0.4 in the object, and of 0.9 around it."""
    clean, inside = framed()
    best = torch.where(inside, 0.4, 0.9)
    shares = shares_of(clean, best)
    assert shares.object == pytest.approx(0.4, abs=0.05)
    assert shares.background == pytest.approx(0.9, abs=0.05)
    first, second = torch.zeros_like(clean), torch.ones_like(clean)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SecondOpinion, "about", lambda self, x_noisy, first: second)
        mixed = SecondOpinion(shares, constant_level(SIGMA)).mixed_into(first, clean)
    torch.testing.assert_close(mixed, torch.where(inside, *shares))


def test_a_background_that_is_not_in_the_crop_has_the_share_of_what_is() -> None:
    clean, inside = framed(SIDE + 80, 32)
    shares = shares_of(clean, torch.where(inside, 0.4, 0.9))
    assert shares.object == pytest.approx(0.4, abs=0.05)
    assert shares.background == shares.object


def framed(side: int = SIDE, border: int = 40) -> tuple[Tensor, Tensor]:
    """An object in an empty background, (1, 1, side, side), and where it is."""
    inside = torch.zeros(1, 1, side, side, dtype=torch.bool)
    inside[..., border:-border, border:-border] = True
    return inside.float(), objects(inside.float())


def shares_of(clean: Tensor, best: Tensor | float) -> Shares:
    """Those borne out where f is off by -best d, and c by (1 - best) d."""
    draw = torch.Generator().manual_seed(1)
    d = 0.1 * torch.randn(clean.shape, generator=draw)
    x_noisy = clean + SIGMA * torch.randn(clean.shape, generator=draw)
    second = SecondOpinion(NONE, constant_level(SIGMA))
    with pytest.MonkeyPatch.context() as patch:
        said, student = (middle(clean + share * d) for share in (1 - best, -best))
        patch.setattr(SecondOpinion, "about", lambda self, given, first, over: said)
        return second.borne_out(lambda x: student, [middle_of(x_noisy, [True], second.level, 2)], "cpu")


def middle(image: Tensor) -> Tensor:
    start = (image.shape[-1] - SIDE) // 2
    return image[..., start : start + SIDE, start : start + SIDE]


def test_a_crop_is_judged_by_the_noise_of_its_own_scan() -> None:
    """z is like that: whatever level the fit as a whole goes by."""
    clean = torch.from_numpy(striped(1, SIDE))[None]
    x_noisy = clean + 3 * SIGMA * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    crop = middle_of(x_noisy, [True], constant_level(3 * SIGMA), 0)
    of_fit, own = (SecondOpinion(NONE, constant_level(sigma)) for sigma in (SIGMA, 3 * SIGMA))
    assert of_fit.borne_out(Blurs(), [crop], "cpu") == own.borne_out(Blurs(), [crop], "cpu")


def test_a_mask_does_not_vote() -> None:
    """Where nothing varies nothing is known of the noise, and nothing is drawn: what is wanted is the scan itself."""
    x_noisy = torch.from_numpy(noisy(striped(1, SIDE)))[None]
    x_noisy[..., 60:] = 0.5
    crop = middle_of(x_noisy, [True], constant_level(SIGMA), 0)
    second = SecondOpinion(NONE, constant_level(SIGMA))
    shares = second.borne_out(lambda x: x - 0.3, [crop], "cpu")
    part = Crop(crop.seen[..., :56], crop.own, crop.level, crop.z[..., :56], crop.object[..., :56], crop.over)
    assert shares == pytest.approx(second.borne_out(lambda x: x - 0.3, [part], "cpu"), abs=0.05)
    x_noisy[:] = 0.5
    assert second.borne_out(lambda x: x - 0.3, [middle_of(x_noisy, [True], second.level, 0)], "cpu") == NONE


def test_slices_of_all_frames_are_tried_with_their_own_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two volumes of three slices; each slice is known by its brightness."""
    tried: list[Crop] = []

    def borne_out(self: SecondOpinion, student: object, crops: Iterable[Crop], device: str) -> Shares:
        tried.extend(crops)
        return NONE

    monkeypatch.setattr(SecondOpinion, "borne_out", borne_out)
    model, _ = fitted(tmp_path, noisy(striped()), Blurs())
    config = model.config.model_copy(update={"student": model.config.student.model_copy(update={"neighbours": 1})})
    asking = replace(model, config=config, second_opinion=SecondOpinion(NONE, constant_level(SIGMA)))
    pixels = noisy(np.repeat(np.arange(6, dtype=np.float32), 96 * 96).reshape(6, 96, 96))
    denoise_slices(asking, pixels, frames=2)
    assert len(tried) == 6
    means = torch.stack([crop.seen.mean((0, 2, 3)) for crop in tried])
    numbers = ((means - means.min()) / (means.max() - means.min()) * 5).round().int().tolist()
    assert numbers == [[0, 0, 1], [1, 0, 2], [2, 1, 2], [3, 3, 4], [4, 3, 5], [5, 4, 5]]
    assert [crop.own.flatten().tolist() for crop in tried[:3]] == [
        [True, True, False],
        [True, False, False],
        [True, False, True],
    ]


@pytest.mark.parametrize(
    ("repeated", "asked"), [([True], False), ([True, True, False], False), ([True, True, False, False], True)]
)
def test_where_most_scans_repeat_one_another_it_is_not_asked(tmp_path: Path, repeated: list[bool], asked: bool) -> None:
    model, slices = fitted(tmp_path, noisy(striped()), Blurs())
    slices = replace(slices, repeated=repeated)
    made = settled(model, slices, "cpu")
    assert (made.second_opinion is not None) == asked
    if not asked:
        with pytest.raises(ConfigError, match=r"its scans are series or repeat one another\. Take the sampler auto\.$"):
            denoise_slices(made, noisy(striped(1)), "second_opinion")
    require_second_opinion(slices)  # nobody wants it
    student = slices.config.student.model_copy(update={"second_opinion": True})
    wanted = replace(slices, config=slices.config.model_copy(update={"student": student}))
    with nullcontext() if asked else pytest.raises(ConfigError, match="none is asked where"):
        require_second_opinion(wanted)


def test_auto_asks_where_the_model_says_so_and_the_student_alone_can_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SecondOpinion, "borne_out", lambda *_: Shares(0.4, 0.4))  # less than the fit found
    pixels = noisy(striped(1))
    model, _ = fitted(tmp_path, pixels, Blurs())
    asking = replace(model, second_opinion=SecondOpinion(Shares(0.5, 0.5), NOISE))
    auto, named, student = (denoise_slices(asking, pixels, it).pixels for it in ("auto", "second_opinion", "student"))
    np.testing.assert_array_equal(auto, named)
    np.testing.assert_array_equal(student, denoise_slices(model, pixels).pixels)
    whole = denoise_slices(replace(model, second_opinion=SecondOpinion(Shares(1.0, 1.0), NOISE)), pixels).pixels
    np.testing.assert_allclose(auto, (student + whole) / 2, atol=1e-5)
    with pytest.raises(ConfigError, match=r"asks for no second opinion.* taken long.* Take the sampler auto"):
        denoise_slices(model, pixels, "second_opinion")


def test_its_share_is_kept_in_the_model_file_and_makes_another_model(tmp_path: Path) -> None:
    model, _ = fitted(tmp_path, noisy(striped(1)), make_student(make_config("fast").student))
    asking = replace(model, second_opinion=SecondOpinion(Shares(0.25, 1.0), NOISE))
    assert load_model(save_model(asking, tmp_path / "m.safetensors")).second_opinion == asking.second_opinion
    assert asking.fingerprint() != model.fingerprint()


WRONG = [{"shares": (0, 1.5)}, {"shares": (np.nan, 0)}, {"shares": (0,)}, {"knots": (0.1,)}, {"sigma": (1, np.inf)}]


@pytest.mark.parametrize("wrong", WRONG)
def test_one_that_makes_no_sense_is_not_read(wrong: dict) -> None:
    level = {**asdict(NOISE), **{key: value for key, value in wrong.items() if key != "shares"}}
    with pytest.raises(ValueError, match="second opinion"):
        SecondOpinion.of_dict({"shares": wrong.get("shares", (0.5, 0.5)), "level": level})


def test_shares_are_told_in_words() -> None:
    assert str(Shares(0.4, 0.2)).startswith("40% (in the background 20%) of what")
    assert str(Shares(0.0, 0.0)).startswith("nothing of what")


@pytest.mark.parametrize("width", [0.0, 1.2])
def test_none_is_asked_where_magnitudes_have_another_texture_than_the_one_it_goes_by(width: float) -> None:
    image = torch.full((1, 1, 96, 96), 1.3)  # a background, of sigma 1
    image[..., 48:] = 9.0
    x_noisy = image + torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    level = rician_level(1.0, replace(constant_level(1.0), texture=smoothed(width)))
    changed = SecondOpinion(Shares(1.0, 1.0), level).mixed_into(image, x_noisy) != image
    assert changed[..., 48:].any()
    assert bool(changed[..., :48].any()) == (width == 0)
