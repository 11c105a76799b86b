"""Variance stabilisation: a change of the brightness scale after which the noise is as strong everywhere.

With sigma(x) the noise level at brightness x, scaled so that g(0) = 0 and g(1) = 1,

    g(x) = s integral_0^x du / sigma(u),    noise of standard deviation s after g, to first order.

A denoiser of g(x_noisy) estimates E[g(x_noisy)], which is not g(x): g is curved. The unbiased inverse is that of

    m(x) = E[g(x + sigma(x) n)],    n standard normal, by Gauss-Hermite quadrature,

as the exact unbiased inverse of the Anscombe transform does for Poisson noise (Makitalo & Foi 2011). Both are tables,
linear in between and beyond, so that nothing is clipped and g can be undone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffdenoise.noise.estimate import NoiseLevel

POINTS = 1025  # of the tables
NODES = 32  # of the quadrature
FLOOR = 0.05  # of the greatest sigma: less would stretch the scale there without end
TAIL = 6.0  # sigma; how far the tables go on beyond brightness 0 and 1 and the knots


@dataclass(frozen=True)
class Stabilisation:
    """The tables; plain numbers, for JSON.

    brightness: rising, normalised (bulk in [0, 1]); stable: g there; mean: m there; sigma: of the noise after
    `forward`.
    """

    brightness: tuple[float, ...]
    stable: tuple[float, ...]
    mean: tuple[float, ...]
    sigma: float

    def forward(self, noisy: np.ndarray) -> np.ndarray:
        """g of normalised noisy pixels, float32, same shape."""
        return _interpolate(noisy, self.brightness, self.stable)

    def inverse(self, denoised: np.ndarray) -> np.ndarray:
        """x from an estimate of E[g(x_noisy)], without bias; float32, same shape."""
        return _interpolate(denoised, self.mean, self.brightness)


def stabilise(level: NoiseLevel) -> Stabilisation:
    """The stabilisation for a noise level in normalised units; affine where the level is constant.

    Raises ValueError if the level is 0 everywhere.
    """
    greatest = max(level.sigma)
    if greatest <= 0:
        raise ValueError("The noise level is 0: there is no noise to stabilise.")
    low, high = min(0.0, level.knots[0]), max(1.0, level.knots[-1])
    x = np.linspace(low - TAIL * greatest, high + TAIL * greatest, POINTS)
    x = np.unique(np.round([*x, 0.0, 1.0, *level.knots], 9))  # no two points that only rounding tells apart
    sigma = np.maximum(np.sqrt(level.variance(x).astype(np.float64)), FLOOR * greatest)
    steps = np.diff(x) * (1 / sigma[1:] + 1 / sigma[:-1]) / 2
    integral = np.concatenate([[0.0], np.cumsum(steps)])
    start, end = np.interp([0.0, 1.0], x, integral)
    stable = (integral - start) / (end - start)
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    noisy = x[:, None] + sigma[:, None] * nodes
    mean = _interpolate(noisy, x, stable, np.float64) @ (weights / weights.sum())
    # Where sigma falls steeply m may fall, too. Held level instead, and a trifle steeper, it can be inverted.
    mean = np.maximum.accumulate(mean) + 1e-9 * np.arange(len(x))
    brightness, stable, mean = (tuple(map(float, table)) for table in (x, stable, mean))
    return Stabilisation(brightness, stable, mean, sigma=float(1 / (end - start)))


def _interpolate(
    values: np.ndarray, x: np.ndarray | tuple[float, ...], y: np.ndarray | tuple[float, ...], dtype: type = np.float32
) -> np.ndarray:
    """Linear interpolation, with the first and last slopes beyond the ends."""
    below, above = np.minimum(values - x[0], 0), np.maximum(values - x[-1], 0)
    first, last = (y[1] - y[0]) / (x[1] - x[0]), (y[-1] - y[-2]) / (x[-1] - x[-2])
    return (np.interp(values, x, y) + first * below + last * above).astype(dtype)
