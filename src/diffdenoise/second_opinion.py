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

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from diffdenoise.collaborative import collaborative
from diffdenoise.crops import ALPHA, Crop, objects, try_on
from diffdenoise.noise.estimate import MORE, NoiseLevel, scaled
from diffdenoise.noise.texture import Texture, power
from diffdenoise.taken_away import OF_BOTH, deviation_about, strength, strength_where_flat

BLOCK = 16  # pixels
LEAST, CLEAR = 0.15, 2.0  # a smaller share gains next to nothing; standard errors that it is to be above 0
FAINT = 0.1  # of the noise's mean power over the frequencies: those with less count less and less
WEAKER = 0.8  # times as strong; of a single slice noise is known no better
MOST_DARK = 0.2  # share of the variance of magnitudes that may correlate in another way than the texture says
KNOWN = 0.25  # standard error; what is known of the object, or the background, alone no better is taken from both
WHY_NONE = "why_no_second_opinion"  # in the history of a model that asks for none
IN_SERIES = "its scans are series or repeat one another"  # one of the reasons: there none is asked, whoever wants it


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
        told = len(level.knots) == len(level.sigma) > 0
        more = [getattr(level, name) for name in MORE]
        told &= all(len(table) in (0, len(level.knots)) for table in more)
        told &= bool(np.isfinite([*level.knots, *level.sigma, *chain(*more), level.rays]).all())
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
            # One slice, or one scan of a fixed scale, may have more noise than those that the level is of. It would
            # stand out, be kept, and be taken for what the first opinion lacks.
            over = over * strength(self.level, x_noisy, first, over)
        return collaborative(x_noisy, first, deviation_about(self.level, x_noisy, first, over), self.level.texture)

    def for_noise(self, level: NoiseLevel) -> SecondOpinion:
        """The same about a scan with this noise, where that is clearly weaker than that of the fit.

        (Where it is stronger, that shows in what the first opinion takes away.)
        """
        there = np.interp(level.knots, self.level.knots, self.level.sigma)
        times = float(np.median(np.array(level.sigma) / np.maximum(there, 1e-30)))
        return replace(self, level=scaled(self.level, times)) if 0 < times < WEAKER else self

    def mixed_into(self, first: Tensor, x_noisy: Tensor) -> Tensor:
        """The first opinion about an image (1, 1, H, W) with this one's shares of the second."""
        share = torch.where(objects(x_noisy).to(first.device), *self.shares) * self._has_one(first)
        return first + share * (self.about(x_noisy, first) - first)

    def borne_out(self, student: Callable[[Tensor], Tensor], crops: Iterable[Crop], device: str) -> Shares:
        """The s of this module that crops bear out for a student; 0: none that is clear."""
        tried = [try_on(student, crop, device) for crop in crops]
        times = min(1.0, float(np.median([strength_where_flat(each) for each in tried])))
        sums = np.zeros((2, 3))
        for crop, given, first in tried:
            # Not a mask, about which the second opinion is what is wanted itself.
            voters = (crop.z != 0) & self._has_one(first[:1]).cpu()
            here = replace(self, level=crop.level)  # z is like that, and scans of a fixed unit are not equally noisy
            pair = zip((crop.z, -crop.z), given.split(1), first.split(1), strict=True)
            both = [here._of_recorrupted(crop, *each, times) for each in pair]
            second, wanted = (torch.cat(images) for images in zip(*both, strict=True))
            change, missing = (_whitened(voters * (x - first.cpu()), crop.level.texture) for x in (second, wanted))
            gain, square = (products.sum(0, keepdim=True) for products in (change * missing, change.square()))
            sums += [_summed(where & voters, gain, square) for where in (crop.object, ~crop.object)]
        return _shares(sums)

    def _has_one(self, first: Tensor) -> Tensor:
        """Where the noise is of the texture that collaborative filtering goes by; same shape, boolean."""
        if self.level.texture.is_white:
            return torch.ones_like(first, dtype=torch.bool)
        return torch.from_numpy(self.level.dark_at(first.cpu().numpy()) <= MOST_DARK).to(first.device)

    def _of_recorrupted(
        self, crop: Crop, z: Tensor, given: Tensor, first: Tensor, times: float
    ) -> tuple[Tensor, Tensor]:
        """(the second opinion, `wanted`) for a crop with this noise, each (1, 1, H, W), float64 on the CPU."""
        k = times * OF_BOTH
        k = k * strength(self.level, given, first, crop.over * k)
        second = self.about(given, first, crop.over * k)
        # Independent of the noise of `given` with so much more, or less, of z as the noise is stronger than z.
        wanted = crop.seen[:, :1] - z * (k**2 - ALPHA**2) / ALPHA
        return second.cpu().double(), wanted.double()


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
