"""Can a small, faint insert be seen? A channelised Hotelling observer on images with the insert and without.

Inserts of one kind may lie in several places; each place has an observer of its own, and their figures are averaged.
With channel outputs c = U^T g of a region g around the insert, the observer's template and its figure of merit are

    w = S^-1 (mean c_present - mean c_absent),    AUC = P(w c_present > w c_absent),

S the mean covariance of the two classes (Barrett & Myers 2004). The template for an image comes from all *other*
images: trained and tested on the same it would be too good. Channels: differences of Gaussians (Abbey & Barrett 2001).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

SIDE = 31  # pixels of the region
WIDTHS = (1.0, 1.7, 2.8, 4.6, 7.6)  # pixels; the bands lie between neighbouring ones
SHRINKAGE = 0.1  # of the covariance towards its diagonal: there are few images
RESAMPLINGS = 1000


def observe(present: np.ndarray, absent: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(present, absent): how often the observer tells the two images apart. Both (images, rows, columns), paired by
    number; places: (row, column) of the insert, (2,) or (places, 2).
    """
    return np.mean([_told(present, absent, int(row), int(column)) for row, column in np.atleast_2d(places)], axis=0)


def auc(told: np.ndarray) -> tuple[float, list[float]]:
    """The mean of what `observe` gives, which is the AUC, with its 95 % interval over images; or of a difference of two
    such, of the same images.
    """
    random, count = np.random.default_rng(0), len(told)
    drawn = [told[np.ix_(*random.integers(count, size=(2, count)))].mean() for _ in range(RESAMPLINGS)]
    return float(told.mean()), [float(np.quantile(drawn, q)) for q in (0.025, 0.975)]


def _told(present: np.ndarray, absent: np.ndarray, row: int, column: int) -> np.ndarray:
    """(present, absent): 1 where the observer tells the two images apart, 1/2 where they are the same to it."""
    on, off = _scores(_channels(present, row, column), _channels(absent, row, column))
    difference = on[:, None] - off
    return (difference > 0) + (difference == 0) / 2


def contrast(present: np.ndarray, absent: np.ndarray, truth: np.ndarray) -> float:
    """Mean response to the insert over its true contrast, weighted by it: 1 all of it kept. truth: (rows, columns)."""
    return float(((present.mean(0) - absent.mean(0)) * truth).sum() / np.square(truth).sum())


def _channels(images: np.ndarray, row: int, column: int) -> np.ndarray:
    """(images, channels)."""
    half = SIDE // 2
    region = images[:, row - half : row + half + 1, column - half : column + half + 1]
    distance = np.hypot(*np.mgrid[-half : half + 1, -half : half + 1])
    blurs = [np.exp(-((distance / width) ** 2) / 2) / width**2 for width in WIDTHS]
    filters = np.stack([a - b for a, b in pairwise(blurs)] + [blurs[-1]])
    return np.einsum("nrc,krc->nk", region, filters - filters.mean((1, 2), keepdims=True))


def _scores(present: np.ndarray, absent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each image's score by a template that never saw it, nor its partner."""
    pairs = []
    for number in range(len(present)):
        others = [np.delete(group, number, axis=0) for group in (present, absent)]
        covariance = np.mean([np.cov(group.T) for group in others], 0)
        covariance += SHRINKAGE * (np.diag(np.diag(covariance)) - covariance)
        template = np.linalg.pinv(covariance) @ (others[0].mean(0) - others[1].mean(0))
        pairs.append((present[number] @ template, absent[number] @ template, np.linalg.norm(template)))
    on, off, size = map(np.array, zip(*pairs, strict=True))
    return on / np.maximum(size, 1e-30), off / np.maximum(size, 1e-30)
