"""What the noise of a scan is like, and what that decides about a fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from diffdenoise.assumptions import Finding, check_noise
from diffdenoise.config import BlindNetwork, Config, Loss
from diffdenoise.noise.across import OWN, frames_help, own_between
from diffdenoise.noise.estimate import (
    NoiseLevel,
    constant_level,
    even_level,
    level_of,
    with_one_sigma,
    with_texture,
    without_grain,
)
from diffdenoise.noise.looked import look
from diffdenoise.noise.rays import rays_of
from diffdenoise.noise.repetition import repetitions
from diffdenoise.noise.spatial import evened
from diffdenoise.noise.texture import Machine, differences_of, may_come_from, shared_textures
from diffdenoise.noise.trend import (
    GROWING,
    Kind,
    Trend,
    as_its_kind,
    counting_level,
    level_of_air,
    rician_level,
    trend_of,
)
from diffdenoise.normalisation import Normalisation
from diffdenoise.series import noise_of_series

# For a larger patch than one pixel, the paper changes PUCA for LG-BPN.
FOR_LARGER_PATCHES: dict[BlindNetwork, BlindNetwork] = {"puca": "local_global"}
TOLD_GRAIN = 0.04  # share of the variance; less is rounding
IN_WORDS: dict[Kind, str] = {
    "gaussian": "equally strong at every brightness, as Gaussian noise is",
    "poisson": "stronger where it is bright, its variance in proportion, as counting noise (Poisson) is",
    "gamma": "in proportion to the brightness, as multiplicative noise (speckle) is",
    "signal-dependent": "stronger where it is bright, as ghosts, pulsation or uneven coils make it in MR images",
    "rician": "weaker in the dark background and never negative, as in magnitude MR images (Rician)",
    "projected": "weaker in air than in the body, as that of computed tomography is",
    "unknown": "of no kind known here",
}


@dataclass(frozen=True)
class Diagnosis:
    """Level and trend in the scan's own units; faults: assumptions that do not hold.

    repeated: the same object was imaged again, and the level measured on the differences, unless it was on_components:
    on those components of a series that hold noise alone. alone: as the scan alone shows it, before it was made that of
    its kind: so it can be measured of any scan, also of one that comes without its repetitions. air: that of its empty
    background, if it has one (see `level_of_air`). neighbours: whether neighbouring slices help; shared: whether they
    do not because they share noise; series: so many frames of a series help, 0 if they do not. correlated: what its
    texture was found from, None for white noise. given: whether the level is the user's. kept: grain that is not taken
    for noise, as a share of the variance of both. rays: k of `noise.rays`, if the noise is that of projections.
    """

    level: NoiseLevel
    trend: Trend
    faults: tuple[Finding, ...]
    alone: NoiseLevel
    air: NoiseLevel | None = None
    repeated: bool = False
    neighbours: bool = False
    series: int = 0
    on_components: bool = False
    correlated: np.ndarray | None = field(default=None, repr=False)
    rays: float = 0.0
    given: bool = False
    kept: float = 0.0
    shared: bool = False


@dataclass(frozen=True)
class Choice:
    """What a fit does about the noise, where its config leaves it open.

    noise: the noise in a sentence; why: a sentence for each setting, by its name; floor: whether the noise lifts the
    dark, as Rician noise does; neighbours: so many slices on each side are worth to be seen; series: so are the other
    frames of a series, of so many at most.
    """

    patch: int
    loss: Loss
    noise: str
    why: dict[str, str]
    floor: bool = False
    neighbours: int = 0
    series: int = 0


def diagnose(
    slices: np.ndarray, stacks: Sequence[np.ndarray] | None = None, frames: int = 1, machine: Machine = ""
) -> Diagnosis:
    """The noise of (slices, rows, columns).

    stacks: images of the same shape that may be repetitions, in order; None: the frames. frames: so many volumes are in
    the slices.
    machine: that made them; it decides of which kind the noise can be, not how strong it is found to be.
    """
    series = frames if frames_help(slices, frames) else 0
    first, again = repetitions(np.split(slices, frames) if stacks is None else stacks) or (slices, None)
    of_series = noise_of_series(slices, frames) if series else None
    looked = of_series or look(first, again)
    level = level_of(looked)
    one = look(slices) if looked.pure else looked
    alone = level_of(one) if looked.pure else level
    trend = trend_of(one, level, looked if looked.pure else None, machine)
    faults = tuple(check_noise(first, level, looked, trend.counted, machine))
    own = own_between(slices[: len(slices) // frames])
    hidden = trend.kind == "gaussian" and level.reach and not looked.pure  # by anatomy, at most brightnesses
    of_its_kind = even_level(looked, level) if hidden else as_its_kind(level, trend)
    correlated = differences_of(evened(looked, level.variation)) if level.reach else None
    on_components = of_series is not None
    air = level_of_air(one, alone)
    rays = rays_of(first, again) if level.reach and machine != "MR" and not on_components else 0.0
    found = Diagnosis(
        of_its_kind, trend, faults, alone, air, again is not None, own > OWN, series, on_components, correlated, rays
    )
    return _with_rays(replace(found, shared=0 < own <= OWN), machine)


def diagnose_alone(pixels: np.ndarray, frames: int = 1, machine: Machine = "") -> Diagnosis:
    """The noise of a scan (slices, rows, columns) as a fit on it alone knows it, with a texture of its machine."""
    (found,) = with_shared_textures([diagnose(pixels, frames=frames, machine=machine)], [""], [machine])
    return found


def with_shared_textures(
    found: Sequence[Diagnosis], kinds: Sequence[Hashable], machines: Sequence[Machine]
) -> list[Diagnosis]:
    """The same, where scans of a kind have correlated noise whose texture they may well share: with that of all.

    kinds: alike for scans of one matrix from machines of one sort; machines: that made each (see
    `noise.texture.may_come_from`). Each keeps the share of white noise that it shows. Each level is made what it is
    with that texture. What was measured where noise is alone stays, on repetitions or a dark background: it tells more
    than several images do where there is anatomy.
    """
    shared = list(found)
    groups: dict[tuple[Hashable, Machine], list[int]] = {}
    for number, (one, kind, machine) in enumerate(zip(found, kinds, machines, strict=True)):
        alone = one.repeated or one.on_components
        stays = alone or (one.trend.is_rician and may_come_from(one.level.texture, machine))
        if one.correlated is not None and not stays:
            groups.setdefault((kind, machine), []).append(number)
    for (_, machine), numbers in groups.items():
        levels = [found[number].level for number in numbers]
        measured = [found[number].correlated for number in numbers]
        reaches, own = [level.reach for level in levels], [level.texture for level in levels]
        textures = shared_textures(measured, reaches, own, machine)  # type: ignore[arg-type]
        for number, level, texture in zip(numbers, levels, textures, strict=True):
            dark = found[number].trend.is_rician
            with_it = replace(level, texture=texture) if dark else with_texture(level, texture)
            shared[number] = _with_rays(replace(found[number], level=with_it), machine)
    return shared


def _with_rays(found: Diagnosis, machine: Machine) -> Diagnosis:
    """With noise that goes by the rays where it comes from them: on a CT, or by its texture. Magnitudes' never does."""
    projected = found.trend.kind != "rician" and (machine == "CT" or found.level.texture.is_projected)
    return replace(found, level=replace(found.level, rays=found.rays if projected else 0.0))


def as_given(config: Config, found: Diagnosis, own: tuple[float, float]) -> Diagnosis:
    """With the noise that the user has told, if so, and without what is to be kept.

    own: the scan's range, (offset, scale).
    """
    if config.grain == "keep":
        found = replace(found, level=without_grain(found.level), kept=found.level.texture.grain)
    if config.sigma is not None:
        return with_sigma(found, config.sigma)
    return found if config.counts is None else with_counts(found, config.counts, sum(own))


def believed(found: Diagnosis, rule: Normalisation) -> Diagnosis:
    """With the noise of its empty background in place of what it shows, where only that is like the other scans'."""
    if found.given:
        return found
    found = replace(found, alone=rule.believed(found.alone, found.air))
    level = rule.believed(found.level, found.air)
    if level is found.level or found.repeated or found.on_components:  # those were measured without the anatomy
        return found
    return replace(found, level=level, trend=Trend("rician", sigma=level.loudest))


def with_sigma(found: Diagnosis, sigma: float) -> Diagnosis:
    """Where it is known how strong the noise is (in each channel, if Rician), but not how far correlated."""
    if found.trend.kind == "rician":
        return replace(found, level=rician_level(sigma, found.level), alone=constant_level(sigma), given=True)
    level = with_one_sigma(found.level, sigma)
    return replace(found, level=level, alone=constant_level(sigma), given=True)


def with_counts(found: Diagnosis, counts: float, brightest: float) -> Diagnosis:
    """Where it is known to be counting noise, so many `counts` to a unit, but not how far correlated."""
    level = replace(counting_level(counts, brightest), reach=found.level.reach, texture=found.level.texture)
    return replace(found, level=level, alone=level, trend=Trend("poisson", lam=counts), given=True)


def choose(found: Sequence[Diagnosis]) -> Choice:
    """For scans with these diagnoses: what most of them have counts."""
    kind = Counter(one.trend.kind for one in found).most_common(1)[0][0]
    reach = int(np.median([one.level.reach for one in found]))
    series = max(one.series for one in found)
    neighbours = sum(one.neighbours for one in found) > len(found) / 2
    patch = 2 * reach + 1
    loss: Loss = "l1" if kind == "gaussian" else "l2"
    pixels = f"correlated over {reach} pixel{'s' * (reach > 1)}" if reach else "independent between pixels"
    aim = "the noise is symmetric" if loss == "l1" else "L1 would aim at the median, not at the mean"
    why = {
        "blind_spot.patch": f"{patch} x {patch} pixels are hidden, as far as the noise is correlated."
        if reach
        else "Each pixel alone is hidden, for its noise is its own.",
        "blind_spot.loss": f"The loss is {loss.upper()}: {aim}.",
    }
    if neighbours:
        why["student.neighbours"] = "The slices above and below are looked at, too, for their noise is their own."
    if series:
        together = "The frames of a series are denoised together, as its principal components"
        why["student.series"] = f"{together}, for their noise is their own."
    if kind in GROWING:
        why["stabilise"] = "Its level is not evened out: where we measured that, it gained nothing."
    strength = _strength(found)
    if all(one.given for one in found):
        noise = f"The noise has, as given, a standard deviation of {strength}. It looks {pixels}."
    else:
        noise = f"The noise has a standard deviation of {strength}. It looks {pixels}, and {IN_WORDS[kind]}."
        noise += _how_measured(found)
    grain = float(np.median([one.level.texture.grain for one in found]))
    if grain >= TOLD_GRAIN:
        why["grain"] = f"White noise beside it, {grain:.0%} of its variance, is taken out, too."
    if kind == "rician":
        why["noise_floor"] = "What the noise adds to dark places, its floor, is taken off the result."
    return Choice(patch, loss, noise, why, kind == "rician", int(neighbours), series)


def _strength(found: Sequence[Diagnosis]) -> str:
    """From the weakest to the strongest; a sigma that is given as it is given, which Rician noise nowhere has."""
    given = all(one.given for one in found)
    levels = [one.alone if given else one.level for one in found]
    digits = ".6g" if given and all(len(level.sigma) == 1 for level in levels) else ".3g"
    weakest, strongest = (f"{end(level.typical for level in levels):{digits}}" for end in (min, max))
    return weakest if weakest == strongest else f"{weakest} to {strongest}"


def _how_measured(found: Sequence[Diagnosis]) -> str:
    """Further sentences about noise that was measured: where it is how strong, and on what."""
    said = ""
    uneven = [one.level.variation for one in found if not one.level.variation.is_even]
    if len(uneven) > len(found) / 2:
        low, high = (float(np.median(end)) for end in zip(*((one.low, one.high) for one in uneven), strict=True))
        said += f" It varies over the image: {low:.2g} to {high:.2g} times as strong."
    if sum(one.level.rays > 0 for one in found) > len(found) / 2:
        said += " It is stronger along directions whose rays lost more on their way, as that of projections is."
    if sum(one.trend.counted for one in found) > len(found) / 2:
        said += " The values are whole counts, so that its level is known exactly."
    if any(one.on_components for one in found):
        said += " It was measured on the components of a series that hold nothing else."
    elif any(one.repeated for one in found):
        said += " It was measured where the same object was imaged again, on the differences."
    return said


def told(config: Config, choice: Choice) -> list[str]:
    """What to tell about a fit with this config: the noise, and the reasons for what the config left open."""
    spot = config.blind_spot
    left_open = {
        "blind_spot.patch": spot.patch is None and config.has_teacher,
        "blind_spot.loss": spot.loss is None and config.has_teacher,
        "stabilise": not config.stabilise,
        "noise_floor": config.noise_floor == "auto",
        "grain": config.grain == "remove",
        "student.neighbours": config.student.neighbours is None and not _sees_series(config, choice),
        "student.series": config.student.series is None,
    }
    reasons = (f"{why[:-1]} (setting {name})." for name, why in choice.why.items() if left_open[name])
    return [choice.noise, *reasons]


def _sees_series(config: Config, choice: Choice) -> bool:
    """Whether frames are seen together; then neighbours are not, for with both less is gained (docs/method.md, 12)."""
    return choice.series > 0 and config.student.series is not False


def settle(config: Config, choice: Choice) -> Config:
    """The config with what it leaves open (None) filled in."""
    spot = config.blind_spot
    patch, loss = spot.patch or choice.patch, spot.loss or choice.loss
    network = FOR_LARGER_PATCHES.get(spot.network, spot.network) if patch > 1 else spot.network
    floor = ("remove" if choice.floor else "keep") if config.noise_floor == "auto" else config.noise_floor
    blind_spot = {**spot.model_dump(), "patch": patch, "loss": loss, "network": network}
    neighbours = 0 if _sees_series(config, choice) else choice.neighbours
    seen = {"neighbours": neighbours, "series": bool(choice.series), "together": 2 * choice.series}
    left_open = {name for name in seen if getattr(config.student, name) is None}
    decided = {name: 0 if config.has_teacher else seen[name] for name in left_open}
    student = {**config.student.model_dump(), **decided}
    changes = {"blind_spot": blind_spot, "noise_floor": floor, "student": student}
    return Config.model_validate({**config.model_dump(), **changes})
