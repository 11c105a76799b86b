"""Over how many pixels noise is correlated, from noisy images alone.

sigma(D_h) = sigma (1 - rho_h) (see `differences`) rises with h while the noise is correlated and then stays (or falls
a little, where rho turns negative): where it stops rising is the correlation's reach. Anatomy makes it rise, too, but
not at every brightness.
"""

from __future__ import annotations

from diffdenoise.noise.differences import flat_sigmas
from diffdenoise.noise.looked import Looked

LONGEST_REACH = 4  # pixels; beyond it a hidden patch would leave too little to predict from
BINS = 4  # of brightness
FAINT = 0.25  # of the loudest bin: less is no noise
STILL_RISING = 1.1  # sigma at the next spacing over sigma at this one


def reach_of(looked: Looked) -> int:
    """Over how many pixels noise is correlated, 0 to LONGEST_REACH; one more if sigma goes on rising beyond that.

    The least over the brightness bins: anatomy makes sigma rise in some of them, correlated noise in all. Bins with
    next to no noise (a masked background) have no say.
    """
    last = min(LONGEST_REACH + 2, min(looked.x.shape[1:]) // 4)
    sigmas = lambda spacing: [flat.sigma for flat in flat_sigmas(looked, spacing, BINS)]  # noqa: E731
    here = sigmas(1) if last > 0 else []
    loud = [number for number, sigma in enumerate(here) if sigma >= FAINT * max(here) > 0]
    if not loud:
        return 0
    for spacing in range(2, last + 1):
        before, here = here, sigmas(spacing)
        compared = [number for number in loud if number < min(len(before), len(here))]
        # In a strip narrower than the spacing there is nothing to see: what was seen to rise so far has to do.
        if not compared or any(here[number] <= STILL_RISING * before[number] for number in compared):
            return spacing - 2
    return last - 1
