"""Over how many pixels noise is correlated, from noisy images alone.

sigma(D_h) = sigma (1 - rho_h) (see `differences`) rises with h while the noise is correlated and then stays: where it
stops rising is the correlation's reach. Anatomy makes it rise, too, but not at every brightness.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from diffdenoise.noise.differences import flat_sigmas
from diffdenoise.noise.looked import Looked, look
from diffdenoise.noise.models import neighbours

LONGEST_REACH = 4  # pixels; beyond it a hidden patch would leave too little to predict from
BINS = 4  # of brightness
FAINT = 0.25  # of the loudest bin: less is no noise
STILL_RISING = 1.1  # sigma at the next spacing over sigma at this one


def estimate_reach(slices: np.ndarray) -> int:
    """Over how many pixels the noise of (slices, rows, columns) is correlated, 0 to LONGEST_REACH.

    The least over the brightness bins: anatomy makes sigma rise in some of them, correlated noise in all. Bins with
    next to no noise (a masked background) have no say.
    """
    return min(LONGEST_REACH, reach_of(look(slices)))


def reach_of(looked: Looked) -> int:
    """As `estimate_reach`, but LONGEST_REACH + 1 if sigma goes on rising to the last spacing."""
    last = min(LONGEST_REACH + 2, min(looked.x.shape[1:]) // 4)
    levels = [[flat.sigma for flat in flat_sigmas(looked, spacing, BINS)] for spacing in range(1, last + 1)]
    bins = list(zip(*levels, strict=False))
    loudest = max((sigmas[0] for sigmas in bins), default=0.0)
    return min((_stops_rising(sigmas) for sigmas in bins if sigmas[0] >= FAINT * loudest > 0), default=0)


def plateau(looked: Looked, reach: int, sigmas: np.ndarray) -> float:
    """Share 1 - rho_h of the noise that D_h shows at h = reach + 1, given its `sigmas` there; 1 for white noise.

    A Gaussian correlation, ln rho_h ~ -h^2, carries what is left at h = reach on to the next pixel. Anatomy hides the
    difference between the two spacings in some of the brightness bins; the upper quartile belongs to the others.
    """
    loud = sigmas >= FAINT * sigmas.max(initial=0)
    before = np.array([flat.sigma for flat in flat_sigmas(looked, reach, len(sigmas))]) if reach else np.empty(0)
    if len(before) != len(sigmas) or sigmas.max(initial=0) == 0:
        return 1.0
    rho = np.linspace(0, 0.9, 901)
    shown = 1 - rho ** ((reach + 1) / reach) ** 2
    ratio = float(np.quantile(before[loud] / sigmas[loud], 0.75))
    return float(np.interp(-ratio, -(1 - rho) / shown, shown))


def kernel_width(looked: Looked, sigmas: np.ndarray) -> float:
    """Width in pixels of the Gaussian kernel whose noise correlates between neighbours as this noise does.

    sigmas: the noise level in each brightness bin. The median over the bins: anatomy makes some of them look smoother.
    """
    near = np.array([flat.sigma for flat in flat_sigmas(looked, 1, len(sigmas))])
    loud = sigmas >= FAINT * sigmas.max(initial=0)
    if len(near) != len(sigmas) or sigmas.max(initial=0) == 0:
        return 0.0
    shown = float(np.median(near[loud] / sigmas[loud]))  # 1 - rho_1
    widths = np.linspace(0.2, LONGEST_REACH, 381)
    return float(np.interp(-shown, [neighbours(width) - 1 for width in widths], widths))


def _stops_rising(sigmas: Sequence[float]) -> int:
    """Index of the first sigma that the next one exceeds by less than a tenth; the last one if there is none."""
    pairs = enumerate(pairwise(sigmas))
    return next((index for index, (here, further) in pairs if further <= STILL_RISING * here), len(sigmas) - 1)
