"""Apply a model to a scan's pixels: each image with its own noise, the same result in any batch or order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from diffdenoise.crops import Crop, middle_of, spread_over
from diffdenoise.diagnosis import Diagnosis, as_given, believed, diagnose_alone
from diffdenoise.domain import Domain
from diffdenoise.errors import ConfigError
from diffdenoise.far_out import limits_of
from diffdenoise.model import Model
from diffdenoise.noise.across import frames_help, neighbours_share_noise
from diffdenoise.noise.estimate import NoiseLevel, constant_level, level_of
from diffdenoise.noise.floor import deviations_of_signal, inverse_of
from diffdenoise.noise.looked import look
from diffdenoise.noise.rician import rician_sigma
from diffdenoise.noise.texture import Machine
from diffdenoise.noise.trend import counting_level, level_of_air
from diffdenoise.normalisation import measure_range
from diffdenoise.rounds import image_seed, sample_slice
from diffdenoise.second_opinion import IN_SERIES, WHY_NONE, SecondOpinion, Shares
from diffdenoise.series import Components, components_of_parts
from diffdenoise.symmetry import SYMMETRIES, over_symmetries
from diffdenoise.tiling import tiled
from diffdenoise.training.slices import SMALLEST_CROP
from diffdenoise.training.student import offsets

OTHER_UNIT = (
    "the values span a far wider or narrower range than in the scans of the fit, and are denoised as if they were in "
    "the same unit. Give them in that unit, or fit on such scans."
)
SHARED = "its slices seem to share noise, as those do that were interpolated or overlap: each is seen alone."
Sampler = Literal["auto", "student", "ensemble", "second_opinion", "srds"]


@dataclass(frozen=True)
class Denoised:
    """A result in the units of the input, (slices, rows, columns).

    spread: only where a sampler gave one. magnitude: the same with the floor of Rician noise, where that was taken off.
    untouched: no noise was found to take away. shares: of a second opinion, where one was mixed in. foreign: of another
    unit, it seems, than the scans of the fit. shared: its slices seem to share noise, so that each was seen alone by a
    model that sees neighbours, too.
    """

    pixels: np.ndarray
    spread: np.ndarray | None
    magnitude: np.ndarray | None = None
    untouched: bool = False
    shares: Shares | None = None
    foreign: bool = False
    shared: bool = False


def denoise_slices(
    model: Model,
    pixels: np.ndarray,
    sampler: Sampler = "auto",
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
    frames: int = 1,
    machine: Machine = "",
) -> Denoised:
    """Denoise one scan, float (slices, rows, columns) in its own units.

    sampler: "student" is one pass; "ensemble" the mean of its passes over the eight symmetries of each slice;
    "second_opinion" has as much of that of collaborative filtering mixed into the mean over as many of these as the fit
    decided for as the scan or the fit bears out; "auto" is that, or where the model asks for none that mean alone;
    "srds" samples and fuses, and alone gives a spread. frames: so many volumes of the same places, one after the other.
    machine: that made them, as far as is known.

    Of the student's correction as much is made as the model's strength says. A student that sees neighbouring slices is
    given them where there are some, and the slice itself where not; one that sees series is given their components
    (`diffdenoise.series`). Each slice of the result stays within the range of its own noisy pixels; those that are far
    out of the scan's range come back as they are (`diffdenoise.far_out`).
    """
    turns, sampler = turns_of(model, sampler), chosen(model, sampler)
    constant = pixels.min() == pixels.max()  # and so without a range to normalise by
    domain = None if constant else domain_of(model, pixels, frames, machine)
    noiseless = domain is not None and not model.config.level_given and max(domain.level.sigma) <= 0
    if domain is None or noiseless:  # detail to lose, no noise to take
        return Denoised(pixels.copy(), np.zeros_like(pixels) if sampler == "srds" else None, untouched=True)
    foreign = model.normalisation.is_foreign(measure_range(pixels), model.config.level_given)
    result = np.empty(pixels.shape, np.float32)
    spread = np.empty(pixels.shape, np.float32) if sampler == "srds" else None
    # Tiles inside turns: those of a turned image begin where its own grid of strides does.
    student = partial(over_symmetries, partial(tiled, model.student), turns=turns)
    series = series_of_scan(model, domain, pixels, frames)
    places, beside = len(pixels) // frames, seen_beside(model, pixels, frames)
    shared = bool(beside) and not any(beside)
    asked = sampler == "second_opinion"
    second = second_opinion_on(model, domain, pixels, beside, student, frames, device) if asked else None
    shares = second.shares if second else None
    for place in range(places):
        images = pixels[place::places]
        clean, deviation = (np.empty(images.shape, np.float32) for _ in range(2))
        seen, _ = seen_by_student(domain, pixels, place, beside, frames, series)
        for frame, image in enumerate(images):
            if spread is None:
                clean[frame] = _as_the_student(student, second, seen[frame : frame + 1].to(device))
            else:
                clean[frame], deviation[frame] = _sampled(model, domain, image, seed, device)
            progress(place * frames + frame + 1, len(pixels))
        far_out = domain.far_out(images)
        if spread is not None:
            spread[place::places] = np.where(far_out, 0, domain.spread_back(deviation, clean))
        if series is not None:
            clean = series.back(clean)
        # Magnitudes stay positive, stored ranges suffice. No bias: the noisy extremes lie outside the clean ones.
        inside = images.min((1, 2), keepdims=True), images.max((1, 2), keepdims=True)
        result[place::places] = np.where(far_out, images, domain.back(clean).clip(*inside))
    floor = floor_of(model, pixels)
    if not floor:
        denoised = Denoised(result, spread, None, False, shares, foreign, shared)
        return weakened(denoised, pixels, model.strength)
    signal, inverse = np.empty_like(result), inverse_of(result, floor)
    if spread is not None:
        spread = deviations_of_signal(result, spread, inverse)
    for index, image in enumerate(pixels):  # slice by slice, for the tables are of float64; stored ranges suffice
        far_out = domain.far_out(image[None])[0]
        signal[index] = np.where(far_out, image, np.maximum(inverse(result[index]), image.min()))
    return weakened(Denoised(signal, spread, result, False, shares, foreign, shared), pixels, model.strength)


def chosen(model: Model, sampler: Sampler) -> Sampler:
    """What "auto" stands for with this model; any other sampler as it is. Raises ConfigError for what is none."""
    if sampler not in get_args(Sampler):
        raise ConfigError(f"There is no sampler {sampler!r}. Choose one of: {', '.join(get_args(Sampler))}.")
    if sampler == "second_opinion" and not model.second_opinion:
        why = model.history.get(WHY_NONE, f"{IN_SERIES}, it would have taken long beside its training, or was not to")
        again = "" if why == IN_SERIES else ", or fit with second_opinion = true under [student]"
        raise ConfigError(f"This model asks for no second opinion: {why}. Take the sampler auto{again}.")
    if sampler != "auto":
        return sampler
    if model.second_opinion:
        return "second_opinion"
    return "student" if turns_of(model, sampler) == 1 else "ensemble"


def turns_of(model: Model, sampler: Sampler) -> int:
    """Over how many of the eight turns of a slice the student's passes are averaged by a sampler."""
    if sampler == "ensemble":
        return SYMMETRIES
    return 1 if sampler in ("student", "srds") else model.config.student.turns or 1


def second_opinion_on(
    model: Model,
    domain: Domain,
    pixels: np.ndarray,
    beside: Sequence[int],
    student: Callable[[Tensor], Tensor],
    frames: int,
    device: str,
) -> SecondOpinion | None:
    """The model's, by the larger of the shares that the fit's scans and this one bear out; None if all are 0.

    beside: see `seen_beside`.
    """
    if min(pixels.shape[1:]) < SMALLEST_CROP:  # too few places where patches could be alike
        return None
    assert model.second_opinion
    second = model.second_opinion
    if model.normalisation.mode != "noise":  # else scans are scaled so that their noise is alike
        second = second.for_noise(domain.level)
    places = len(pixels) // frames

    def crop(number: int) -> Crop:
        seen, own = seen_by_student(domain, pixels, number % places, beside, frames)
        frame = number // places
        return middle_of(seen[frame : frame + 1], own, second.level, image_seed(0, pixels[number]))

    borne_out = second.borne_out(student, map(crop, spread_over(len(pixels))), device)
    shares = Shares(*map(max, second.shares, borne_out))
    return replace(second, shares=shares) if any(shares) else None


def _as_the_student(student: Callable[[Tensor], Tensor], second: SecondOpinion | None, seen: Tensor) -> np.ndarray:
    """A slice (1, C, H, W) as the student says, with a second opinion mixed in: (H, W)."""
    with torch.no_grad():
        first = student(seen).float()
        mixed = second.mixed_into(first, seen[:, :1]) if second else first
        return mixed[0, 0].cpu().numpy()


def weakened(result: Denoised, noisy: np.ndarray, strength: float) -> Denoised:
    """The result with `strength` in (0, 1] of what was removed from the noisy pixels removed, the rest left in.

    noisy + strength * (denoised - noisy); the spread shrinks alike. At 1 the result itself.
    """
    if strength == 1 or result.untouched:
        return result
    share = np.float32(strength)
    pixels = noisy + share * (result.pixels - noisy)
    spread = None if result.spread is None else share * result.spread
    magnitude = None if result.magnitude is None else noisy + share * (result.magnitude - noisy)
    return replace(result, pixels=pixels, spread=spread, magnitude=magnitude)


def _sampled(model: Model, domain: Domain, image: np.ndarray, seed: int, device: str) -> tuple[np.ndarray, np.ndarray]:
    """A slice's fused sample and the spread of its pairs, as the networks see them."""
    x_noisy = torch.from_numpy(domain.into(image))[None, None].to(device)
    sampled = sample_slice(model, x_noisy, domain.level, [image_seed(seed, image)])
    return sampled.fused[0, 0].cpu().numpy(), sampled.spread[0, 0].cpu().numpy()


def series_of_scan(model: Model, domain: Domain, pixels: np.ndarray, frames: int) -> Components | None:
    """The components that the student is given in place of the frames; None where it is given the frames themselves.

    They are where the model was fitted so, and the frames of the scan help one another, too.
    """
    helped = model.config.student.series and frames_help(pixels, frames)
    return components_of_parts(pixels, frames, model.config.student.together, domain.into) if helped else None


def seen_beside(model: Model, pixels: np.ndarray, frames: int = 1) -> list[int]:
    """How many slices further on those are that the student is given beside each slice of a scan.

    All 0, the slice itself, where slices share noise: what can be told of it from a neighbour would stay.
    """
    beside = offsets(model.config.student.neighbours or 0)
    shared = beside and neighbours_share_noise(pixels[: len(pixels) // frames])
    return [0] * len(beside) if shared else beside


def seen_by_student(
    domain: Domain,
    pixels: np.ndarray,
    place: int,
    beside: Sequence[int] = (),
    frames: int = 1,
    series: Components | None = None,
) -> tuple[Tensor, list[bool]]:
    """What the student is given for a slice of each frame, or component, of a scan: (frames, C, H, W).

    And which channels are that slice itself. beside: see `seen_beside`.
    """
    places = len(pixels) // frames
    further = [place + offset for offset in beside]
    seen = [place, *(there if 0 <= there < places else place for there in further)]
    channels = (domain.into(pixels[there::places]) for there in seen)
    images = np.stack([of if series is None else series.of(of) for of in channels], axis=1)
    return torch.from_numpy(images), [there == place for there in seen]


def domain_of(model: Model, pixels: np.ndarray, frames: int = 1, machine: Machine = "") -> Domain:
    """The way of a scan (slices, rows, columns) into the model's domain, by the model's rule and the scan's own noise.

    The noise level is the one the user gave, or estimated; where it is fused by or evened out, it is of its kind, as in
    training. A scan is scaled by the noise that it shows alone, as in training: it may come without its repetitions.
    """
    own = measure_range(pixels)
    level, alone = _levels_of(model, pixels, own, frames, machine)
    limits = limits_of(pixels, own, alone.loudest)
    return Domain.of(*model.normalisation.apply(own, alone), level, model.config.evens_out, limits)


def _levels_of(
    model: Model, pixels: np.ndarray, own: tuple[float, float], frames: int, machine: Machine
) -> tuple[NoiseLevel, NoiseLevel]:
    """The noise of a scan, and that by which it is scaled: as it shows alone."""
    config = model.config
    if config.has_teacher or config.evens_out:
        found = noise_of(model, pixels, frames, machine)
        return found.level, found.alone
    if config.sigma is not None:
        level = constant_level(config.sigma)
    elif config.counts is not None:
        level = counting_level(config.counts, sum(own))
    else:
        looked = look(pixels)
        level = level_of(looked)
        level = model.normalisation.believed(level, level_of_air(looked, level))
    return level, level


def noise_of(model: Model, pixels: np.ndarray, frames: int = 1, machine: Machine = "") -> Diagnosis:
    """As a fit knows it: told, or where volumes repeat one another measured on their differences; of its kind."""
    found = as_given(model.config, diagnose_alone(pixels, frames, machine), measure_range(pixels))
    return believed(found, model.normalisation)


def floor_of(model: Model, pixels: np.ndarray) -> float:
    """Sigma of the noise whose floor is to be taken off: as given, or as the scan's own dark background shows it.

    0 if it is to stay, or there is no such background, or the values are signed (real and imaginary parts, CT): those
    have no floor.
    """
    if model.config.noise_floor != "remove" or pixels.min() < 0:
        return 0.0
    return model.config.sigma or rician_sigma(look(pixels))
