"""How much a second opinion about what a student says, by collaborative filtering, is worth.

With f the student's result and c what `collaborative` makes of the same noisy slice and f, a user is given

    f + s (c - f)

s is found by recorruption: of a noisy crop `given` and `wanted` are made, whose noises are independent
(`noise.recorruption`). f and c see `given` alone, so that

    s = <c - f, wanted - f> / |c - f|^2

is on the mean what it would be with the clean image in the place of `wanted`, but for chance. Most of that is z's, and
goes as z comes as a symmetric pair, +z and -z; what is left is known, its square is the sum over blocks of (the sum of
(c - f) (wanted - f))^2, over |c - f|^4. Where nothing stands out s is 0, and c is not computed if s is 0 everywhere.

Where noise has a texture both factors are filtered before (`_whitened`), so that the noise of `wanted` is about white,
as by generalised least squares: else the few frequencies that have most of it decide, by chance, and by as much as z's
noise is stronger there than that of the scan, whose level is known to a few percent.

What is imaged has an s of its own, and so has the background around it. A network that has seen noise alone leaves a
ripple there, and c is flat. So much speaks for c that by one s for all too much of it is mixed into the object.

Each is found twice. At the end of a fit on the fit's own scans (`settled.py`): those the student knows, their noise
with them, which makes s too small there if anything. And on each scan that is denoised, of which the student may know
little or nothing, and c so much more. The larger one counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from diffdenoise.collaborative import collaborative
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.noise.recorruption import alive, brightness, draw_like, recorrupt
from diffdenoise.noise.texture import Texture, power
from diffdenoise.quality.reference import foreground

CROPS, SIDE = 8, 160  # that s is found on, at most; pixels
BLOCK = 16  # pixels
ALPHA = 0.3  # more, and the student sees more noise than it was trained on; less, and s is known less well
OF_BOTH = math.sqrt(1 + ALPHA**2)  # times as strong as a scan's noise is that of `given`
FLAT, PLACE, MOST_THROUGH = 0.3, 7, 0.5  # share of the places, their side in pixels; more let through is no denoiser
LEAST, CLEAR = 0.15, 2.0  # a smaller share gains next to nothing; standard errors that it is to be above 0
FAINT = 0.1  # of the noise's mean power over the frequencies: those with less count less and less
FEWEST_COUNTS = 0.01  # of the mean variance; counting noise has none at a brightness of 0, where there is hardly a 0
OF_GAUSSIAN = 0.6745  # deviations; the median of a Gaussian noise's absolute values
SKEWED = 0.75  # of noise of less than two counts, whose absolute values have another median; Rayleigh's is 0.63
WEAKER = 0.8  # times as strong; of a single slice noise is known no better
KNOWN = 0.25  # standard error; what is known of the object, or the background, alone no better is taken from both


class Shares(NamedTuple):
    """An s for what is imaged, and one for the background around it, each of 0 to 1."""

    object: float
    background: float

    def __str__(self) -> str:
        least = f"{self.object:.0%} (in the background {self.background:.0%})" if max(self) >= 0.005 else "nothing"
        return f"{least} of what collaborative filtering would change, or more where a scan bears it out"


@dataclass(frozen=True)
class SecondOpinion:
    """How much of it is mixed into the first one, at least, and the noise that it goes by, both as a fit found them.

    shares: those that the fit's own scans bear out; 0: none that is clear. level: as the networks see the noise. That
    of the fit, not of the scan at hand: networks are shown scans so that the noise is alike (but those of a fixed unit,
    see `for_noise`), and of a single slice a texture, or a map, cannot always be told.
    """

    shares: Shares
    level: NoiseLevel

    @classmethod
    def of_dict(cls, stored: dict[str, Any]) -> SecondOpinion:
        """What `dataclasses.asdict` made of one, also by way of JSON. Raises ValueError for what is none."""
        shares, level = [float(share) for share in stored["shares"]], NoiseLevel.of_dict(stored["level"])
        sound = len(shares) == len(Shares._fields) and all(0 <= share <= 1 for share in shares)
        told = len(level.knots) == len(level.sigma) > 0 and len(level.skewness) in (0, len(level.knots))
        told &= bool(np.isfinite([*level.knots, *level.sigma, *level.skewness]).all())
        if not (sound and told):
            raise ValueError(f"a second opinion of shares {shares}, or of noise that makes no sense")
        return cls(Shares(*shares), level)

    def about(self, x_noisy: Tensor, first: Tensor, over: np.ndarray | float | None = None) -> Tensor:
        """About an image (1, 1, H, W), given the first opinion; same shape.

        over: how many times as strong as its brightness says the noise is; None: what the level says of whole images,
        or more, where more was taken away.
        """
        if over is None:
            over = self.level.over(first.shape)
            over = over * self._strength(x_noisy, first, over)
        return collaborative(x_noisy, first, self._deviation(x_noisy, first, over), self.level.texture)

    def _deviation(self, x_noisy: Tensor, first: Tensor, over: np.ndarray | float) -> Tensor:
        variance = torch.from_numpy(self.level.variance(first.cpu().numpy(), over)).to(first)
        variance = variance.clamp(min=FEWEST_COUNTS * float(variance.mean()))
        return (variance * alive(x_noisy)).sqrt()

    def _strength(self, x_noisy: Tensor, first: Tensor, over: np.ndarray | float) -> float:
        """How many times as strong as the level says noise is, by what a first opinion took away; 1 where it is less.

        The median: detail that got lost is in few places. One slice, or one scan of a fixed scale, may have more noise
        than those that the level is of. It would stand out, be kept, and be taken for what the first opinion lacks.
        """
        deviation = self._deviation(x_noisy, first, over)
        there = (deviation > 0) & (self._skewness(first) <= SKEWED)
        if not there.any():
            return 1.0
        removed = ((x_noisy - first).abs()[there] / deviation[there]).median()
        return max(1.0, float(removed) / OF_GAUSSIAN)

    def _skewness(self, first: Tensor) -> Tensor:
        if not self.level.skewness:
            return torch.zeros_like(first)
        return torch.from_numpy(np.interp(first.cpu().numpy(), self.level.knots, self.level.skewness)).to(first)

    def for_noise(self, level: NoiseLevel) -> SecondOpinion:
        """The same about a scan with this noise, where that is clearly weaker than that of the fit.

        (Where it is stronger, that shows in what the first opinion takes away.)
        """
        there = np.interp(level.knots, self.level.knots, self.level.sigma)
        times = float(np.median(np.array(level.sigma) / np.maximum(there, 1e-30)))
        weaker = replace(self.level, sigma=tuple(times * sigma for sigma in self.level.sigma))
        return replace(self, level=weaker) if 0 < times < WEAKER else self

    def mixed_into(self, first: Tensor, x_noisy: Tensor) -> Tensor:
        """The first opinion about an image (1, 1, H, W) with this one's shares of the second."""
        share = torch.where(objects(x_noisy).to(first.device), *self.shares)
        return first + share * (self.about(x_noisy, first) - first)

    def borne_out(self, student: Callable[[Tensor], Tensor], crops: Iterable[Crop], device: str) -> Shares:
        """The s of this module that crops bear out for a student; 0: none that is clear."""
        sums, asked = np.zeros((2, 3)), [_ask(student, crop, device) for crop in crops]
        times = min(1.0, float(np.median([self._times(*each) for each in asked])))
        for crop, given, first in asked:
            voters = crop.z != 0  # not a mask, about which the second opinion is what is wanted itself
            here = replace(self, level=crop.level)  # z is like that, and scans of a fixed unit are not equally noisy
            both = [here._of_recorrupted(crop, n, given[n : n + 1], first[n : n + 1], times) for n in range(2)]
            second, wanted = (torch.cat(images) for images in zip(*both, strict=True))
            change, missing = (_whitened(voters * (x - first.cpu()), crop.level.texture) for x in (second, wanted))
            gain, square = (products.sum(0, keepdim=True) for products in (change * missing, change.square()))
            sums += [_summed(where & voters, gain, square) for where in (crop.object, ~crop.object)]
        return _shares(sums)

    def _of_recorrupted(
        self, crop: Crop, number: int, given: Tensor, first: Tensor, times: float
    ) -> tuple[Tensor, Tensor]:
        """(the second opinion, `wanted`) with z (0) or -z (1), each (1, 1, H, W), float64 on the CPU."""
        k = times * OF_BOTH
        k = k * self._strength(given, first, crop.over * k)
        second = self.about(given, first, crop.over * k)
        # Independent of the noise of `given` with so much more of z as the noise is stronger than z.
        wanted = crop.seen[:, :1] - (-1) ** number * crop.z * (k**2 - ALPHA**2) / ALPHA
        return second.cpu().double(), wanted.double()

    def _times(self, crop: Crop, given: Tensor, first: Tensor) -> float:
        """How many times as strong as its level says the noise of a crop is, where the student's result is flattest.

        What is taken away there is noise, less the share let through, which z tells. A level is measured where noisy
        images are flattest; anatomy in those adds a few percent to it, which would cost c most of its share.
        """
        here, mean = replace(self, level=crop.level), first.mean(0, keepdim=True)
        deviation = here._deviation(given[:1], mean, crop.over)
        there = (deviation > 0) & (here._skewness(mean) <= SKEWED)
        if not there.any():
            return 1.0
        deviation = torch.where(there, deviation, 1)
        mean = mean - mean.mean()
        rough = (_around(mean.square()) - _around(mean).square()) / deviation.square()
        flat = there & (rough <= rough[there].quantile(FLAT))
        z, plus, minus = (image[flat] / deviation[flat] for image in (crop.z.to(first), first[:1], first[1:]))
        let_through = float((z * (plus - minus)).sum() / (2 * ALPHA * z.square().sum()))
        removed = ((given - first).abs() / deviation)[flat.expand_as(first)].median() / (OF_GAUSSIAN * OF_BOTH)
        return float(removed) / np.sqrt(1 - min(max(let_through, 0.0), MOST_THROUGH))


def _ask(student: Callable[[Tensor], Tensor], crop: Crop, device: str) -> tuple[Crop, Tensor, Tensor]:
    """(the crop, it with z and with -z, what the student says of these), the images (2, 1, H, W), on the device."""
    given, _ = recorrupt(crop.seen[:, :1], torch.cat([crop.z, -crop.z]), ALPHA)
    with torch.no_grad():
        shown = [torch.where(crop.own, image, crop.seen).to(device) for image in given]
        return crop, given.to(device), torch.cat([student(seen).float() for seen in shown])


def _around(images: Tensor) -> Tensor:
    """Means over squares of PLACE pixels, the same shape."""
    return avg_pool2d(images, PLACE, 1, PLACE // 2, count_include_pad=False)


def _whitened(images: Tensor, texture: Texture) -> Tensor:
    """Images (N, 1, H, W), filtered so that noise of this texture is about white; what has next to none is left out."""
    if texture.is_white:
        return images
    mode = "reflect" if min(images.shape[-2:]) > BLOCK else "replicate"  # the filter would go on at the far edge
    around = pad(images, 4 * [BLOCK], mode)
    spectrum = torch.from_numpy(power(texture, *around.shape[-2:])).to(images)
    white = torch.fft.ifft2(torch.fft.fft2(around) * spectrum.sqrt() / (spectrum + FAINT)).real
    return white[..., BLOCK:-BLOCK, BLOCK:-BLOCK]


def _summed(where: Tensor, gain: Tensor, square: Tensor) -> tuple[float, float, float]:
    """Of a crop: gain, its variance by chance, and |c - f|^2, of which a share is made."""
    gain = where * gain
    # Of squares so large that noise, which may be correlated, is not that of the next one.
    blocks = avg_pool2d(gain, BLOCK, ceil_mode=True, divisor_override=1)
    return float(gain.sum()), float(blocks.square().sum()), float((where * square).sum())


def _shares(sums: np.ndarray) -> Shares:
    """Of what `_summed` found of the object, and of the background, (2, 3)."""
    gain, chance, square = np.array([*sums, sums.sum(0)]).T  # of the object, the background, and both
    error = np.sqrt(chance)
    clear = gain >= np.maximum(LEAST * square, CLEAR * error)
    share = np.where(clear & (square > 0), gain, 0) / np.where(square > 0, square, 1)
    known = (square > 0) & (error <= KNOWN * square)
    return Shares(*(min(1.0, float(share[part if known[part] else 2])) for part in range(2)))


class Crop(NamedTuple):
    """A part of a slice that s is found on.

    seen: what the student is given, (1, C, H, W), the slice itself first; own: which channels are that, (C, 1, 1);
    level: of its noise; z: noise like that, (1, 1, H, W); object: what is no background, likewise; over: how many times
    as strong as its brightness says noise is there.
    """

    seen: Tensor
    own: Tensor
    level: NoiseLevel
    z: Tensor
    object: Tensor
    over: np.ndarray | float


def middle_of(seen: Tensor, own: list[bool], level: NoiseLevel, seed: int) -> Crop:
    """The middle of a slice (1, C, H, W) and of its neighbours, with noise like its own."""
    x_noisy, over = seen[:, :1], level.over(seen.shape)
    variance = level.variance_of(x_noisy.numpy(), brightness(x_noisy).numpy(), over)
    generator = torch.Generator().manual_seed(seed)
    z = draw_like((alive(x_noisy) * torch.from_numpy(variance)).sqrt(), level.texture, generator)
    rows, columns = (slice(start, start + SIDE) for start in (max(0, (side - SIDE) // 2) for side in seen.shape[-2:]))
    there = over[..., rows, columns] if isinstance(over, np.ndarray) else over
    own_channels, image = torch.tensor(own)[:, None, None], objects(x_noisy)
    return Crop(seen[..., rows, columns], own_channels, level, z[..., rows, columns], image[..., rows, columns], there)


def objects(x_noisy: Tensor) -> Tensor:
    """What is imaged in a whole slice (1, 1, H, W), holes in it included; the same shape, boolean, on the CPU."""
    return torch.from_numpy(foreground(x_noisy.cpu().numpy()))


def spread_over(count: int) -> list[int]:
    """Numbers of CROPS of so many slices, evenly spread; of fewer, all."""
    return np.linspace(0, count - 1, min(CROPS, count)).round().astype(int).tolist()
