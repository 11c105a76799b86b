"""Put the noisy pixel back: Bayes' rule for a blind estimate and the measurement of the same pixel.

    x | everything but the pixel ~ N(x_blind, v),   x_noisy = x + n,  n ~ N(0, s2) independent of x_blind
    =>  E[x | all] = x_blind + v / (v + s2) (x_noisy - x_blind),      var = v s2 / (v + s2)

(Laine et al. 2019, eq. 4.) The blind estimate never saw its own pixel's noise: that is what makes the two errors
independent, so only blind estimates may be fused, and only once. v is learned by likelihood, through the variance
v_total = v + s2 of x_noisy - x_blind, which is what a blind network can see. As v >= 0, v_total bounds s2 from above:
where a level was estimated too high, for fine anatomy passes for noise, the best predicted places tell (`bounded`).
"""

from __future__ import annotations

import torch
from torch import Tensor

BINS, FEWEST = 12, 500  # of brightness; pixels in each, in small images of fewer bins
BEST_PREDICTED = 0.05  # share of a bin's pixels; nothing but noise is left unpredicted there


def gain(v_total: Tensor, s2: Tensor | float) -> Tensor:
    """Weight v / (v + s2) of the noisy pixel, in [0, 1], from v_total = v + s2 and the noise variance s2."""
    return (1 - s2 / v_total).clamp(0, 1)


def fuse(x_blind: Tensor, x_noisy: Tensor, v_total: Tensor, s2: Tensor | float) -> Tensor:
    """E[x | x_noisy], same shape as the inputs; variances in the square of their unit."""
    return x_blind + gain(v_total, s2) * (x_noisy - x_blind)


def bounded(s2: Tensor, v_total: Tensor, brightness: Tensor) -> Tensor:
    """s2, nowhere above the v_total of the best predicted pixels of like brightness; all (N, 1, H, W), like s2 again.

    Each image for itself. Too low a bound costs little where it is reached: those pixels are predicted well.
    """
    result = s2.clone()
    for image, total, shade in zip(result, v_total, brightness, strict=True):
        for group in shade.flatten().argsort().tensor_split(max(1, min(BINS, shade.numel() // FEWEST))):
            best = total.flatten()[group].float().quantile(BEST_PREDICTED)
            image.view(-1)[group] = image.view(-1)[group].clamp(max=best)
    return result


def recalibrate(v_total: Tensor, x_c: Tensor, x_blind: Tensor, x_noisy: Tensor, where: Tensor | float = 1.0) -> Tensor:
    """v_total, learned for the blind estimate x_c, carried over to another blind estimate of the same pixels.

    mean[(x_noisy - x_blind)^2 / v_total] is the factor on v_total that makes x_noisy likeliest. Only its ratio between
    the two estimates is used, one number per image: v_total itself may be off on unseen content, and v / (v + s2)
    reacts strongly to an error that is the same everywhere. where: 1 for the pixels that count; not a mask without
    noise, in which v_total is next to 0, so that the least residue of a chain would outweigh the object.
    """
    fit = lambda estimate: (where * (x_noisy - estimate) ** 2 / v_total).mean(dim=(-3, -2, -1), keepdim=True)  # noqa: E731
    own = fit(x_c)
    return v_total * torch.where(own > 0, fit(x_blind) / own.clamp(min=1e-12), 1.0)
