"""The texture of noise: how its power is spread over the frequencies, in the shapes that scanners give it.

    smoothed       |h(f)|^2, h a Gaussian kernel: images that were smoothed or resampled; each axis with a width
    band           1 / (1 + (f / cut)^64): zero-filled k-space, a matrix interpolated to a larger one; each axis
    disc           the same of |f|
    soft disc      1 / (1 + exp((|f| - cut) / softness))^2: k-space under a Fermi filter, as MR scanners have it
    ramp           (|f| + floor) exp(-2 (|f| / cut)^steepness): filtered back-projection, CT

f in cycles a pixel, each spectrum scaled to the mean 1, plus a share of white noise (rounding, a detector's own). From
an image alone only the mixed differences of `differences` are to be had: these see nothing of the frequencies f = 0
along an axis, where the anatomy is. So the spectrum is not measured frequency by frequency; the shape is looked for
whose differences, at all spacings down and across,

    V(h, g) = 1 - rho(h, 0) - rho(0, g) + rho(h, g),    rho the correlation, the spectrum's Fourier transform,

are most like those of the image, and it says what the lowest frequencies hold. (V is that of noise which correlates
along one diagonal as along the other, as all of these do.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache, reduce
from itertools import product
from typing import Any, Literal

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Generator, Tensor

from diffdenoise.noise.differences import variances_at_spacings
from diffdenoise.noise.looked import Looked
from diffdenoise.noise.models import unit_kernel
from diffdenoise.noise.reach import LONGEST_REACH
from diffdenoise.noise.rician import magnitude_correlation, rician_sigma
from diffdenoise.threads import made_once

LONGEST = 6  # pixels; spacing that is looked at
GRID = 64  # frequencies each way, on which the shapes are compared
MARGIN = 32  # pixels, beyond which no noise of these shapes is correlated by more than 0.01
EDGE = 64  # steepness of the end of a band: zero-filling is abrupt

ERROR, GROWS = 0.02, 0.02  # of a measured variance at spacing 1; more at each further one, for there is more anatomy
ABOVE, BELOW = 4.0, 8.0  # errors; a measured variance further above (below) counts as this far, for anatomy adds
OFFSET = 1.0  # errors by which all variances together may be off
BEYOND, BEYOND_ALL = 0.6, 0.2  # least variance shown one pixel beyond the reach; where that may be longer
OF_BINS = 0.25  # quantile over the bins of brightness
LOUD = 0.25  # of the loudest bin's deviation: less is no noise
DARK = 2.0  # sigma; below it Rician noise has another texture
# Errors in the mean that a less simple shape must gain.
EXTRA = {"separable": 0.05, "band": 0.1, "disc": 0.15, "soft disc": 0.15, "ramp": 0.15}
# Shares of white noise that are tried. One of 1 % is much of what differs between neighbours in smooth noise: they lie
# so densely that none passes for another shape.
GRAINS = (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.09, 0.12, 0.16, 0.2)
OF_GRAIN = 0.35  # errors in the mean that it must gain
# Steepness and floor of what is known to be a ramp: every window ends it as 1 - c f^2 at first, and at f = 0 nothing is
# left. Others are steps on the way to it: anatomy in the lowest frequencies makes it look as if it had a floor.
RAMP = (2.0, 0.0)
OF_ANATOMY = 0.2  # weight of its differences beside a background: they tell signs, and hold fine structure
OF_BACKGROUND = 0.06  # the largest share that is looked for in a dark background, of MR
SHARED = 0.35  # errors in the mean by which a texture may fit an image less well than its own, to pass for it
ALL_ALIKE = 0.35  # share of what a less simple shape must gain, however many images there are
MOST_ASKED = 64  # images, of many; more tell nothing new
ANOTHER = 1.0  # the same; an image that it fits so badly, or worse, is of another kind

Profile = tuple[Literal["smoothed", "band"], float]
Machine = Literal["MR", "CT", ""]  # "": another, or nobody knows


@dataclass(frozen=True)
class Texture:
    """A power spectrum of mean 1 (see the module).

    down, across: along each axis, ("smoothed", width in pixels) or ("band", share of the frequencies), if `radial` is
    empty; else (cut in cycles a pixel,) of a disc, (cut, softness) of a soft one or (cut, steepness, floor) of a ramp.
    grain: share of white noise.
    """

    down: Profile = ("smoothed", 0.0)
    across: Profile = ("smoothed", 0.0)
    radial: tuple[float, ...] = ()
    grain: float = 0.0

    @property
    def is_white(self) -> bool:
        """Whether no pixel's noise tells anything about another's."""
        return self == WHITE

    @property
    def is_projected(self) -> bool:
        """Whether it is that of filtered back-projection."""
        return len(self.radial) == 3

    @property
    def turned(self) -> Texture:
        """That of an image turned by a quarter."""
        return replace(self, down=self.across, across=self.down)

    @property
    def area(self) -> float:
        """So many pixels tell as much as one would if it were white: the sum of the squares of all correlations."""
        return float(np.square(power(self, GRID, GRID)).mean())

    def shown(self, down: int, across: int) -> float:
        """Deviation of the mixed difference at this spacing (at most LONGEST is looked at), of noise of deviation 1."""
        down, across = (min(spacing, LONGEST) - 1 for spacing in (down, across))
        return float(np.sqrt(max(_shown_by(correlation(self))[down, across], 0.0)))

    @classmethod
    def of_dict(cls, stored: dict[str, Any]) -> Texture:
        """What `dataclasses.asdict` made of one, also by way of JSON. Raises ValueError for what is none."""
        down, across, radial = (tuple(stored[name]) for name in ("down", "across", "radial"))
        along = all((kind, value > 0) == ("band", True) or kind == "smoothed" for kind, value in (down, across))
        sizes = (*(value for _, value in (down, across)), *radial, stored["grain"])
        if not along or len(radial) not in (0, 1, 2, 3) or not all(0 <= size <= MARGIN for size in sizes):
            raise ValueError(f"a texture {stored}")
        if not all(radial[:2]):  # cut, softness or steepness
            raise ValueError(f"a texture without frequencies {radial}")
        return cls(down, across, radial, stored["grain"])  # type: ignore[arg-type]

    def __str__(self) -> str:
        """How the noise may have come to it."""
        if self.is_white:
            return "white"
        if self.is_projected:
            return "that of filtered back-projection (CT)"
        if len(self.radial) == 2:
            return f"limited softly to a disc of {2 * self.radial[0]:.2f} of the frequencies, as by a filter of k-space"
        if self.radial:
            return f"limited to a disc of {2 * self.radial[0]:.2f} of the frequencies, as by zero-filling"
        words = {
            "smoothed": lambda width: f"smoothed over {width:.2g} pixels" if width else "white",
            "band": lambda share: f"limited to {share:.2f} of the frequencies, as by zero-filling",
        }
        down, across = (words[kind](value) for kind, value in (self.down, self.across))
        return down if self.down == self.across else f"{down} down and {across} across"


WHITE = Texture()


def smoothed(down: float, across: float | None = None) -> Texture:
    """White noise filtered by a Gaussian of so many pixels, the same both ways unless `across` is given."""
    return Texture(("smoothed", float(down)), ("smoothed", float(down if across is None else across)))


def draw(shape: tuple[int, ...], texture: Texture, generator: Generator, magnitudes: bool = False) -> Tensor:
    """Noise of mean 0 and variance 1, (..., rows, columns), float32 on the CPU.

    magnitudes: that correlates as magnitudes do in an empty background, where noise of this texture is in each channel.
    """
    if texture.is_white:
        return torch.randn(shape, generator=generator)
    *leading, rows, columns = shape
    whole = [next_fast_len(side + MARGIN, real=True) for side in (rows, columns)]
    white = torch.randn((*leading, *whole), generator=generator)
    noise = torch.fft.irfft2(torch.fft.rfft2(white) * _amplitude(texture, *whole, magnitudes), s=tuple(whole))
    return noise[..., :rows, :columns].contiguous()


def texture_of(looked: Looked, reach: int) -> Texture:
    """The texture of the noise of what is looked at; white where there is too little to tell it from.

    reach: over so many pixels it is correlated (see `reach`), and hardly beyond.
    """
    measured = differences_of(looked)
    if measured is None:
        return WHITE
    found = _candidates()[0][int(_costs(measured, reach).argmin())]
    return shared_textures([measured], [reach], [found], "CT")[0] if found.is_projected else found


def texture_of_background(correlated: np.ndarray, measured: np.ndarray | None) -> Texture:
    """The texture of the noise in each channel whose magnitudes correlate so in an empty background.

    correlated: at distances 0 to LONGEST, (down, across). There is no anatomy there to be kept away from; but of which
    sign a correlation is the magnitudes do not tell. measured: `differences_of` the anatomy, which do.
    """
    textures, _, shown, extra = _candidates()
    off = np.abs(_of_magnitudes() - correlated).reshape(len(textures), -1).mean(1) / ERROR
    if measured is not None:
        last = len(measured)
        off = off + OF_ANATOMY * _misfit(measured.ravel(), shown[:, :last, :last].reshape(len(shown), -1), last)
    grainy = np.array([texture.grain > OF_BACKGROUND for texture in textures])  # of a detector, not of a coil
    return textures[int(np.where(grainy | _never("MR"), np.inf, off + extra).argmin())]


@made_once
def _of_magnitudes() -> np.ndarray:
    """How the magnitudes correlate in an empty background, of each candidate."""
    return magnitude_correlation(_candidates()[1]).astype(np.float32)


def may_come_from(texture: Texture, machine: Machine) -> bool:
    """Whether noise of such a machine may have it: who fills k-space projects nothing back, and CT does nothing else.

    Back-projection and filtered k-space differ in the lowest frequencies alone, where anatomy hides the noise.
    """
    if machine == "CT":
        return texture.radial[1:] == RAMP
    return not (machine == "MR" and texture.is_projected)


def shared_textures(
    measured: Sequence[np.ndarray], reaches: Sequence[int], own: Sequence[Texture], machine: Machine = ""
) -> list[Texture]:
    """Of several images: the shape that fits all best, with the grain that each shows, or its own if that fits better.

    measured: `differences_of` each; reaches, own: of each; machine: that made them all, see `may_come_from`. What
    images show by chance averages out; what anatomy adds does not, and so what a less simple shape must gain falls with
    their root alone, and no further than to ALL_ALIKE: what all have alike, such as grain, never does. Images of
    another kind count little. What is found to be projected is that of CT, whoever says so.
    """
    if machine == "CT":
        measured = [_without_axes(one) for one in measured]
    asked = measured[:: -(-len(measured) // MOST_ASKED)]
    reach, share = int(np.median(reaches)), max(len(asked) ** -0.5, ALL_ALIKE)
    never = _never(machine)
    costs = lambda one, of_one, share=1.0: np.where(never, np.inf, _costs(one, of_one, share))  # noqa: E731
    worse = (_over_best(_by_grain(costs(one, reach, share)).min(0)).clip(max=ANOTHER) for one in asked)
    together = int(reduce(np.add, worse).argmin())
    textures = _candidates()[0]
    of_shape = textures[together :: len(textures) // len(GRAINS)]
    found = []
    for one, of_one, texture in zip(measured, reaches, own, strict=True):
        alone = costs(one, of_one)
        over = _by_grain(_over_best(alone))[:, together]
        if over.min() <= SHARED:
            found.append(of_shape[int(over.argmin())])
        else:
            found.append(texture if may_come_from(texture, machine) else textures[int(alone.argmin())])
    projected = [number for number, texture in enumerate(found) if texture.is_projected]
    if machine != "CT" and projected:
        of_them = lambda values: [values[number] for number in projected]  # noqa: E731
        ramps = shared_textures(of_them(measured), of_them(reaches), of_them(found), "CT")
        for number, texture in zip(projected, ramps, strict=True):
            found[number] = texture
    return found


def _without_axes(measured: np.ndarray) -> np.ndarray:
    """Alike down and across, as noise of projections is but for where more is lost across one of them (see `rays`)."""
    return np.sqrt(measured * measured.T)


@cache
def _never(machine: Machine) -> np.ndarray:
    """Which candidates no such machine makes."""
    return np.array([not may_come_from(texture, machine) for texture in _candidates()[0]])


def _by_grain(costs: np.ndarray) -> np.ndarray:
    """Of all candidates: (grains, shapes)."""
    return costs.reshape(len(GRAINS), -1)


def _over_best(costs: np.ndarray) -> np.ndarray:
    return costs - costs.min()


def differences_of(looked: Looked) -> np.ndarray | None:
    """V at spacings 1 to LONGEST, fewer in a small image, down and across, in units of the first (spacings, spacings).

    None without any noise.
    """
    last = min(LONGEST, min(looked.x.shape[1:]) // 4)
    brightness, variances = variances_at_spacings(looked, last)
    if not len(variances) or variances[:, 0].max() == 0:
        return None
    loud = variances[:, 0] >= LOUD**2 * variances[:, 0].max()
    floor = rician_sigma(looked.alone or looked)
    bright = loud & (brightness > DARK * floor) if floor else loud
    variances = variances[bright if bright.any() else loud]
    return np.quantile(variances / variances[:, :1], OF_BINS, axis=0).reshape(last, last)


def _costs(measured: np.ndarray, reach: int, share: float = 1.0) -> np.ndarray:
    """Of each candidate: its misfit and a share of what it must gain, in errors; infinite where it reaches further."""
    _, _, shown, extra = _candidates()
    last, beyond = len(measured), min(reach, LONGEST - 1)
    costs = _misfit(measured.ravel(), shown[:, :last, :last].reshape(len(shown), -1), last) + share * extra
    costs[shown[:, beyond, beyond] < (BEYOND if reach < LONGEST_REACH else BEYOND_ALL)] = np.inf
    return costs


def _misfit(measured: np.ndarray, shown: np.ndarray, last: int) -> np.ndarray:
    """Mean distance of what is measured from what each texture shows (textures, last^2), in errors."""
    steps = np.arange(last)
    errors = (ERROR + GROWS * np.maximum.outer(steps, steps).ravel()).astype(np.float32)
    log = np.log(np.maximum(shown, 1e-6))
    deviation = (np.log(np.maximum(measured, 1e-6)).astype(np.float32) - (log - log[:, :1])) / errors
    deviation -= np.clip(np.median(deviation, axis=1, keepdims=True), -OFFSET, OFFSET)
    return np.where(deviation > 0, np.minimum(deviation, ABOVE), np.minimum(-deviation, BELOW)).mean(1)


@cache
def shapes() -> list[Texture]:
    """All that are compared, without grain; those along the axes first."""
    textures = [Texture(down, across) for down, across in product(_profiles(), repeat=2)]
    cuts = [(float(cut),) for cut in np.arange(0.1, 0.6, 0.01)]
    soft = [(float(cut), softness) for cut, softness in product(np.arange(0.2, 0.71, 0.025), (0.03, 0.05, 0.08))]
    ramps = [
        (float(cut), float(steepness), floor)
        for cut, steepness, floor in product(np.geomspace(0.15, 0.8, 50), (1.5, 2, 4), (0.0, 0.03, 0.1))
    ]
    return [*textures, *(Texture(radial=values) for values in (*cuts, *soft, *ramps))]


@cache
def _profiles() -> list[Profile]:
    smoothed: list[Profile] = [("smoothed", float(width)) for width in (0.0, *np.geomspace(0.25, 3, 60))]
    return [*smoothed, *(("band", float(share)) for share in np.arange(0.2, 1, 0.02))]


@made_once
def _candidates() -> tuple[list[Texture], np.ndarray, np.ndarray, np.ndarray]:
    """Textures; of each the correlation at distances 0 to LONGEST, V at spacings 1 to LONGEST, what it must gain."""
    lines = np.stack([_along_axis(profile) for profile in _profiles()])
    rho = np.einsum("ah,bg->abhg", lines, lines).reshape(-1, LONGEST + 1, LONGEST + 1)
    rho = np.concatenate([rho, [correlation(texture) for texture in shapes()[len(rho) :]]])
    grainy = [replace(texture, grain=grain) for grain in GRAINS for texture in shapes()]
    mixed = np.concatenate([((1 - grain) * rho).astype(np.float32) for grain in GRAINS])
    mixed[:, 0, 0] = 1
    extra = np.array([must_gain(texture) for texture in shapes()])
    return grainy, mixed, _shown_by(mixed), np.concatenate([extra + OF_GRAIN * (grain > 0) for grain in GRAINS])


def must_gain(texture: Texture) -> float:
    """Errors in the mean by which a shape that is less simple has to fit better."""
    if texture.radial:
        return EXTRA[("disc", "soft disc", "ramp")[len(texture.radial) - 1]]
    if "band" in (texture.down[0], texture.across[0]):
        return EXTRA["band"]
    return EXTRA["separable"] * (texture.down != texture.across)


@lru_cache(maxsize=16)  # crops of one size, turned or not; whole slices are large
def _amplitude(texture: Texture, rows: int, columns: int, magnitudes: bool) -> Tensor:
    """Square root of the spectrum on the frequencies of `rfft2`."""
    spectrum = power(texture, rows, columns)
    if magnitudes:
        rho = np.fft.ifft2(spectrum).real.clip(-1, 1)
        spectrum = np.fft.fft2(magnitude_correlation(rho)).real.clip(0)
    return torch.from_numpy(np.sqrt(spectrum)[:, : columns // 2 + 1].astype(np.float32))


def power(texture: Texture, rows: int, columns: int) -> np.ndarray:
    """The spectrum on the frequencies of `fft2`, (rows, columns), mean 1."""
    down, across = np.fft.fftfreq(rows), np.fft.fftfreq(columns)
    if texture.radial:
        shape = _round(np.hypot(down[:, None], across[None]), texture.radial)
    else:
        shape = np.outer(_profile(down, texture.down), _profile(across, texture.across))
    return (1 - texture.grain) * shape / shape.mean() + texture.grain


def _profile(frequency: np.ndarray, profile: Profile) -> np.ndarray:
    kind, value = profile
    if kind == "band":
        return 1 / (1 + (frequency / (value / 2)) ** EDGE)
    kernel = unit_kernel(value).numpy()
    offsets = np.arange(len(kernel)) - len(kernel) // 2
    return np.square(np.cos(2 * np.pi * np.outer(frequency, offsets)) @ kernel)


def _round(distance: np.ndarray, values: tuple[float, ...]) -> np.ndarray:
    if len(values) == 1:
        return 1 / (1 + (distance / values[0]) ** EDGE)
    if len(values) == 2:
        cut, softness = values
        return 1 / (1 + np.exp((distance - cut) / softness)) ** 2
    cut, steepness, floor = values
    return (distance + floor) * np.exp(-2 * (distance / cut) ** steepness)


def _along_axis(profile: Profile) -> np.ndarray:
    """Correlation at distances 0 to LONGEST along an axis."""
    shape = np.fft.ifft(_profile(np.fft.fftfreq(GRID), profile)).real
    return shape[: LONGEST + 1] / shape[0]


def correlation(texture: Texture) -> np.ndarray:
    """At distances 0 to LONGEST, (down, across)."""
    return np.fft.ifft2(power(texture, GRID, GRID)).real[: LONGEST + 1, : LONGEST + 1]


def _shown_by(rho: np.ndarray) -> np.ndarray:
    """V at spacings 1 to LONGEST, (..., down, across)."""
    return 1 - rho[..., 1:, :1] - rho[..., :1, 1:] + rho[..., 1:, 1:]
