"""What an empty background tells of a magnitude image's noise: there it is all that there is.

In air the magnitudes of a complex image are Rayleigh distributed. Their mean square is twice the variance in each
channel, and how they correlate tells how the channels do, from which the texture follows. In the anatomy the noise has
the same texture, is about Gaussian, and as strong as its brightness says (Rician). Whether this scan is so is tried on
what `differences` show of its anatomy, at every spacing: that can only add to the noise. Coils that are combined in
another way, filters and masks make a background that is another, or none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np

from diffdenoise.noise.differences import evenly_spaced_sigmas
from diffdenoise.noise.looked import Looked
from diffdenoise.noise.reach import LONGEST_REACH, STILL_RISING
from diffdenoise.noise.rician import deviation_at, empty_places, rician_sigma
from diffdenoise.noise.texture import DARK, LONGEST, WHITE, Texture, differences_of, texture_of_background

BINS = 8  # of brightness
LEAST, MOST = 0.8, 1.2  # of what is expected, shown at any brightness but for chance, and by half of the bright ones
CHANCE = 2.4  # two standard errors of a level, times the root of the number of places
FINEST = 1.15  # what the finest differences show of that, over what wider ones do, at most
MOST_ASKED = 400_000  # pixels, of which the correlation is taken
FEWEST = 2000  # pairs of pixels
FAR = 5  # pixels, down and across; what correlates over as many is faint signal, which is alike far and near
ALONE = 0.03  # correlation of neighbours' magnitudes; less is none


@dataclass(frozen=True)
class Background:
    """sigma of each channel; texture of its noise, and over how many pixels that reaches.

    borne_out: whether what the anatomy shows is about as strong, and of that texture.
    """

    sigma: float
    texture: Texture
    reach: int
    borne_out: bool = False


def background_of(looked: Looked) -> Background | None:
    """What the background of a single image tells; None where there is none, or the anatomy may have other noise."""
    found = air_of(looked)
    return found if found and found.borne_out else None


def air_of(looked: Looked) -> Background | None:
    """The same, whatever the anatomy shows: its own structure may be far stronger than noise."""
    if looked.pure:
        return None
    if "background" not in looked.kept:
        looked.kept["background"] = _found(looked)
    return looked.kept["background"]


def _found(looked: Looked) -> Background | None:
    empty = empty_places(looked)
    correlation = None if empty is None else _correlation(looked.x, empty)
    if correlation is None:
        return None
    sigma, textures = rician_sigma(looked), [WHITE]
    if max(correlation[0, 1], correlation[1, 0]) > ALONE:  # where fine anatomy misleads, without its differences
        textures = [texture_of_background(correlation, measured) for measured in (differences_of(looked), None)]
    all_found = [Background(sigma, texture, _reach(texture)) for texture in textures]
    return next((replace(found, borne_out=True) for found in all_found if _is_borne_out(looked, found)), all_found[0])


def _correlation(x: np.ndarray, empty: np.ndarray) -> np.ndarray | None:
    """Of pixels of the background at distances 0 to LONGEST, (down, across), the same along both diagonals.

    None if there are too few.
    """
    few = max(1, round(np.count_nonzero(empty) / MOST_ASKED))
    x, empty = x[::few], empty[::few]
    if min(x.shape[1:]) <= LONGEST or not empty.any():
        return None
    off = np.where(empty, x - x[empty].mean(), 0)
    sums, counts = np.zeros((2, LONGEST + 1, LONGEST + 1))
    for down, across in product(range(LONGEST + 1), repeat=2):
        rows, left, right = x.shape[1] - down, slice(None, x.shape[2] - across), slice(across, None)
        for here, there in ((left, right), (right, left)):
            sums[down, across] += np.vdot(off[:, :rows, here], off[:, down:, there])
            counts[down, across] += np.count_nonzero(empty[:, :rows, here] & empty[:, down:, there])
    if counts.min() < FEWEST:
        return None
    covariance = sums / counts
    covariance -= max(0.0, covariance[FAR:, FAR:].mean())
    return covariance / covariance[0, 0]


def _reach(texture: Texture) -> int:
    """As `reach.reach_of` would find it in noise of this texture."""
    shown = [texture.shown(spacing, spacing) for spacing in range(1, LONGEST_REACH + 2)]
    rising = (further > STILL_RISING * near for near, further in pairwise(shown))
    return next((reach for reach, rises in enumerate(rising) if not rises), LONGEST_REACH)


def _is_borne_out(looked: Looked, found: Background) -> bool:
    """Whether what is shown at each brightness, where anatomy adds least, is about what this noise would show.

    In the anatomy, that is: in the dark noise is not Gaussian.
    """
    shown = [_over_expected(looked, found, spacing) for spacing in range(1, found.reach + 2)]
    alike = [each for each in shown if each.shape == shown[0].shape]  # at the same brightnesses
    least, at_most = np.min(alike, axis=0)
    if not least.size or at_most.min() < LEAST or _of_bright(least) > MOST:
        return False
    # Anatomy adds least to the finest differences, a wrong texture most.
    near, *further = (_of_bright(over) for over, _ in alike)
    return near <= min(further, default=near) * FINEST


def _of_bright(shown: np.ndarray) -> float:
    return float(np.median(shown[len(shown) // 2 :]))


def _over_expected(looked: Looked, found: Background, spacing: int) -> np.ndarray:
    """What the flattest places show, dark to bright, over what noise of this background would; and that at most, but
    for chance: (2, brightnesses).
    """
    flat = [one for one in evenly_spaced_sigmas(looked, spacing, BINS) if one.brightness > DARK * found.sigma]
    brightness, sigmas, numbers = np.array(flat).reshape(-1, 3).T
    over = sigmas / (deviation_at(brightness, found.sigma) * found.texture.shown(spacing, spacing))
    return np.stack([over, over * (1 + CHANCE / np.sqrt(numbers))])
