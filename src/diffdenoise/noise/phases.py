"""Phases that may go with magnitudes, and noise drawn by them: z for correlated Rician noise.

A magnitude is M = |A + n|, n complex, its real and imaginary parts of a texture, with covariance C each. With
e = (A + n) / M, which tells the phase, Gaussian integration by parts gives for the noise m = M - E[M] and any f

    E[m_i f(M)] = sum_j E[C_ij Re(w_i^* e_j) df/dM_j],    w = int_0^1 E[e(A + t n + (1 - t^2)^1/2 n') | n] dt

with n' another noise like n. w_i points about as e_i does. So what recorrupts M, as z recorrupts an image with Gaussian
noise (`recorruption`), is

    z = k^1/2 Re(e^* (z1 + i z2)),    k = Re(w^* e),    z1 and z2 drawn with covariance C

Where there is signal e and k are about 1, and z is like the channels' noise. In the dark e turns, most so around the
places where M vanishes, and z changes its sign from one side of such a place to the other. What is drawn without
knowing where these are, be it by the exact covariance of magnitudes, leaves them as dots in the result.

The scan has lost its phases. But n holds no other frequencies than its texture's: alternately |A + n| is made M, and n
filtered (Gerchberg & Saxton 1972), beginning with noise of its own kind. What comes out need not be the phase that
there was, and differs from time to time; it goes with the places where M vanishes. docs/method.md, section 9, has what
it gains.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Generator, Tensor

from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.noise.recorruption import alive, brightness, draw_like
from diffdenoise.noise.rician import moments
from diffdenoise.noise.texture import Texture, draw, power

TIMES, ONWARD = 30, 0.9  # each step goes on by so much of itself (Perraudin et al. 2013): as far as 100 without it
FAINT = 0.1  # of the mean power; frequencies that have less are filtered out, by and by
NODES = 4  # of the integral over t


def noise_like(
    x_noisy: Tensor,
    level: NoiseLevel,
    texture: Texture,
    generator: Generator,
    over: np.ndarray | float = 1.0,
    unit: Tensor | None = None,
) -> Tensor:
    """Noise like that of images (N, 1, H, W) themselves, as they show it; same shape.

    texture: of the noise here, where the images are turned; over: as for `NoiseLevel.variance`. unit: noise like it of
    variance 1, where it was drawn by `rays`.
    """
    if goes_by_phases(level):
        return draw_by(turned_by(x_noisy, level, texture, generator, over), texture, generator)
    variance = level.variance_of(x_noisy.numpy(), brightness(x_noisy).numpy(), over)
    deviation = (alive(x_noisy) * torch.from_numpy(variance)).sqrt()
    return draw_like(deviation, texture, generator) if unit is None else deviation * unit


def goes_by_phases(level: NoiseLevel) -> bool:
    """Whether this is correlated Rician noise (see `trend.rician_level`)."""
    return bool(level.dark) and not level.texture.is_white


def turned_by(
    x_noisy: Tensor, level: NoiseLevel, texture: Texture, generator: Generator, over: np.ndarray | float = 1.0
) -> Tensor:
    """sigma k^1/2 e of images (N, 1, H, W) with such noise, as they show it; same shape, complex. See `draw_by`."""
    of, sigma = moments(), level.loudest / moments().deviation[-1]
    zero = level.knots[0] - of.mean[0] * sigma  # the value of no magnitude at all
    of_channel = torch.as_tensor(sigma * over).to(x_noisy)
    magnitude, around = ((x - zero).clamp(min=0) / of_channel for x in (x_noisy, brightness(x_noisy)))
    signal = torch.from_numpy(np.interp(around.numpy(), of.mean, of.signal)).to(x_noisy)
    phases = phases_of(magnitude, signal, texture, generator)
    return alive(x_noisy) * of_channel * kernel(signal, magnitude * phases - signal).sqrt() * phases


def phases_of(magnitude: Tensor, signal: Tensor, texture: Texture, generator: Generator, times: int = TIMES) -> Tensor:
    """e that may go with magnitudes (N, 1, H, W); same shape, complex.

    signal: about what there is, same shape; both in units of the sigma of each channel. texture: of their noise.
    """
    spectrum = torch.from_numpy(power(texture, *magnitude.shape[-2:])).to(magnitude)
    passed, shape = spectrum / (spectrum + FAINT), tuple(magnitude.shape)
    noise = before = torch.complex(draw(shape, texture, generator), draw(shape, texture, generator))
    for _ in range(times):
        filtered = torch.fft.ifft2(torch.fft.fft2(magnitude * _unit(signal + noise) - signal) * passed)
        noise, before = filtered + ONWARD * (filtered - before), filtered
    return _unit(signal + noise)


def kernel(signal: Tensor, noise: Tensor) -> Tensor:
    """k, where there is this signal and this complex noise, in units of the sigma of each channel; real, 0 to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    e, total = _unit(signal + noise), torch.zeros_like(signal)
    for t, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        mean = signal + float(t) * noise
        square = mean.abs().square() / (4 * (1 - float(t) ** 2))
        # The mean of e over noise around `mean`; Bessel functions times exp(-square).
        length = math.sqrt(math.pi / 2) * square.sqrt() * (torch.special.i0e(square) + torch.special.i1e(square))
        total += float(weight) * length * (_unit(mean).conj() * e).real
    return total.clamp(min=0)


def draw_by(turned: Tensor, texture: Texture, generator: Generator) -> Tensor:
    """Noise whose sign turns with these complex numbers (N, 1, H, W), and as strong as they are; same shape, real."""
    shape = tuple(turned.shape)
    return turned.real * draw(shape, texture, generator) + turned.imag * draw(shape, texture, generator)


def _unit(numbers: Tensor) -> Tensor:
    return numbers / numbers.abs().clamp(min=1e-6)
