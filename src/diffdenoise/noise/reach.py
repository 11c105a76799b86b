"""Over how many pixels noise is correlated, from noisy images alone.

sigma(D_h) = sigma (1 - rho_h) (see `differences`) rises with h while the noise is correlated and then stays: where it
stops rising is the correlation's reach. Anatomy makes it rise, too, but not at every brightness.
"""

from __future__ import annotations

import numpy as np

from diffdenoise.noise.differences import flat_sigmas
from diffdenoise.noise.looked import Looked, look
from diffdenoise.noise.models import Widths, neighbours

LONGEST_REACH = 4  # pixels; beyond it a hidden patch would leave too little to predict from
BINS = 4  # of brightness
FAINT = 0.25  # of the loudest bin: less is no noise
UNLIKE = 0.15  # correlation of neighbours down and across, if they differ by so much
LITTLE = 0.01  # correlation
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
    sigmas = lambda spacing: [flat.sigma for flat in flat_sigmas(looked, spacing, BINS)]  # noqa: E731
    here = sigmas(1) if last > 0 else []
    loud = [number for number, sigma in enumerate(here) if sigma >= FAINT * max(here) > 0]
    if not loud:
        return 0
    for spacing in range(2, last + 1):
        before, here = here, sigmas(spacing)
        if any(here[number] <= STILL_RISING * before[number] for number in loud if number < len(here)):
            return spacing - 2
    return last - 1


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


def kernel_widths(looked: Looked, reach: int, sigmas: np.ndarray, share: float) -> Widths:
    """Widths in pixels, (down, across), of the Gaussian kernel whose noise correlates between neighbours as this does.

    sigmas: the noise level in each brightness bin; share: of it, that D_h shows at h = reach + 1 (see `plateau`). Both
    ways the same unless the noise is clearly correlated more one way (interpolated, or zero-filled, one way).
    """
    both = _shown(looked, (1, 1), sigmas)
    if both is None:
        return 0.0, 0.0
    one_way = [_shown(looked, spacing, sigmas) or both for spacing in ((1, reach + 1), (reach + 1, 1))]
    rho_down, rho_across = (1 - shown**2 / share for shown in one_way)
    if abs(rho_down - rho_across) < UNLIKE:
        rho_down = rho_across = 1 - both
    return _width(rho_down), _width(rho_across)


def _shown(looked: Looked, spacing: tuple[int, int], sigmas: np.ndarray) -> float | None:
    """Share of the noise that D shows. The median over the bins: anatomy makes some of them look smoother."""
    near = np.array([flat.sigma for flat in flat_sigmas(looked, spacing, len(sigmas))])
    loud = sigmas >= FAINT * sigmas.max(initial=0)
    if len(near) != len(sigmas) or sigmas.max(initial=0) == 0:
        return None
    return float(np.median(near[loud] / sigmas[loud]))


def _width(rho: float) -> float:
    """Of the kernel whose noise correlates by rho between neighbours; 0 where there is none to speak of."""
    widths = np.linspace(0.2, LONGEST_REACH, 381)
    return float(np.interp(rho, [neighbours(width) for width in widths], widths)) if rho > LITTLE else 0.0
