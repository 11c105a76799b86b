"""How strong noise is, by what a denoiser takes away of an image."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from diffdenoise.crops import ALPHA, Tried
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.noise.recorruption import alive

FEWEST_COUNTS = 0.01  # of the mean variance; counting noise has none at a brightness of 0, where there is hardly a 0
OF_GAUSSIAN = 0.6745  # deviations; the median of a Gaussian noise's absolute values
SKEWED = 0.75  # of noise of less than two counts, whose absolute values have another median; Rayleigh's is 0.63
OF_BOTH = math.sqrt(1 + ALPHA**2)  # times as strong as a scan's own is the noise of what a student is given
FLAT, PLACE = 0.3, 7  # share of the places, and their side in pixels
LEFT = 1.0  # times as rough as by the noise that is left in it, a result counts as flat
MOST_THROUGH = 0.5  # of the noise; who lets more through is no denoiser


def deviation_about(level: NoiseLevel, x_noisy: Tensor, first: Tensor, over: np.ndarray | float) -> Tensor:
    """Standard deviation of the noise of images (N, 1, H, W), given a denoised one; 0 in masks; the same shape."""
    variance = torch.from_numpy(level.variance(first.cpu().numpy(), over)).to(first)
    variance = variance.clamp(min=FEWEST_COUNTS * float(variance.mean()))
    return (variance * alive(x_noisy)).sqrt()


def strength(level: NoiseLevel, x_noisy: Tensor, first: Tensor, over: np.ndarray | float) -> float:
    """How many times as strong as a level says the noise of an image is; 1 where it is less.

    The median of all that was taken away: detail that got lost is in few places.
    """
    deviation = deviation_about(level, x_noisy, first, over)
    there = _there(level, first, deviation)
    if not there.any():
        return 1.0
    removed = ((x_noisy - first).abs()[there] / deviation[there]).median()
    return max(1.0, float(removed) / OF_GAUSSIAN)


def strength_where_flat(tried: Tried) -> float:
    """How many times as strong as its level says the noise of a crop is, where the student's result is flattest.

    What is taken away there is noise, less the share let through, which z tells. A level is measured where the noisy
    image is flattest; anatomy in those places adds to it. A denoiser knows flatter ones. 1 for correlated noise: what
    is left of that in a result is as coarse as anatomy, and flat is where there is little of it.
    """
    crop, given, said = tried
    if not crop.level.texture.is_white:
        return 1.0
    mean = said.mean(0, keepdim=True)
    deviation = deviation_about(crop.level, given[:1], mean, crop.over)
    there = _there(crop.level, mean, deviation)
    if not there.any():
        return 1.0
    deviation, mean = torch.where(there, deviation, 1), mean - mean.mean()
    rough = (_around(mean.square()) - _around(mean).square()) / deviation.square()
    z, answer = crop.z.to(said) / deviation, (said[:1] - said[1:]) / (2 * ALPHA * deviation)  # where z was let through
    left = _around(answer.square())[there].median()  # roughness by noise; who chose by it would choose weak noise
    flat = there & (rough <= torch.maximum(rough[there].quantile(FLAT), LEFT * left))
    through = float((z * answer)[flat].sum() / z[flat].square().sum())
    removed = ((given - said).abs() / deviation)[flat.expand_as(said)].median() / (OF_GAUSSIAN * OF_BOTH)
    return float(removed) / math.sqrt(1 - min(max(through, 0.0), MOST_THROUGH))


def _there(level: NoiseLevel, first: Tensor, deviation: Tensor) -> Tensor:
    """Where there is noise, of a distribution that is known by its median."""
    if not level.skewness:
        return deviation > 0
    skewness = torch.from_numpy(np.interp(first.cpu().numpy(), level.knots, level.skewness)).to(first)
    return (deviation > 0) & (skewness <= SKEWED)


def _around(images: Tensor) -> Tensor:
    """Means over squares of PLACE pixels, the same shape."""
    return avg_pool2d(images, PLACE, 1, PLACE // 2, count_include_pad=False)
