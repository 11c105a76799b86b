"""How far a result may be from the truth, pixel by pixel: a map of one standard deviation.

Of E[(f(x_noisy) - x)^2 | x_noisy], f the student, there are two estimates that need no clean image:

    tweedie    sigma^2 df/dx_noisy. For f = E[x | x_noisy] it is the variance of x given x_noisy, exactly (Tweedie's
               formula, second order). A student that was trained by a level that is too high lets too little through.
    again      (f(f(x_noisy) + n) - f(x_noisy))^2, n drawn like the noise: the error that f makes where the truth is
               known, for it is f's own result (a parametric bootstrap). That holds less detail than the scan to lose.

Each is too low for a reason of its own, so the larger one counts. Both are means over a few draws of n and over a few
pixels. They know the noise that was measured, and the anatomy that f has learned from: what differs from both (grain
that passes for noise, a lesion unlike all else) is not in the map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from diffdenoise.domain import Domain
from diffdenoise.inference import domain_of, floor_of, noise_of, seen_beside, seen_by_student, series_of_scan
from diffdenoise.model import Model
from diffdenoise.noise.floor import deviations_of_signal, inverse_of
from diffdenoise.noise.rays import amplitudes_over, draw_along
from diffdenoise.noise.recorruption import alive, brightness, draw_like
from diffdenoise.noise.texture import Machine, Texture
from diffdenoise.rounds import image_seed
from diffdenoise.series import Components
from diffdenoise.tiling import tiled

DRAWS = 8
SMALL = 0.1  # of the noise; for the derivative
BLUR = 2.0  # pixels, over which a variance is averaged


def uncertainty_of(
    model: Model,
    pixels: np.ndarray,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
    frames: int = 1,
    strength: float = 1.0,
    machine: Machine = "",
) -> np.ndarray:
    """Standard deviation of the student's error for a scan (slices, rows, columns), same shape and units.

    0 where there is no noise. It takes 17 passes of the student; the error is that of one pass. A mean of eight is a
    few per cent nearer to the truth; a second opinion is, too, and much nearer where the student knows little of a
    scan. strength: of the correction, as given to the user; the model's own comes on top. frames, machine: as in
    `denoise_slices`.
    """
    if pixels.min() == pixels.max():
        return np.zeros_like(pixels)
    domain = domain_of(model, pixels, frames, machine)
    if not (model.config.has_teacher or model.config.evens_out):  # else it is known already: it was asked for
        level = noise_of(model, pixels, frames, machine).level
        domain = Domain.of(domain.offset, domain.scale, level, even=False, limits=domain.limits)
    left, floor = 1 - strength * model.strength, floor_of(model, pixels)
    series = series_of_scan(model, domain, pixels, frames)
    result, means = np.empty(pixels.shape, np.float32), np.empty(pixels.shape if floor else 0, np.float32)
    places, beside = len(pixels) // frames, seen_beside(model, pixels, frames)
    for place in range(places):
        images = pixels[place::places]
        seen, own = seen_by_student(domain, pixels, place, beside, frames, series)
        noise = noise_in(domain, images)
        of_seen = noise if series is None else _of_components(series, noise)
        found = []
        for x, image, of_one, dark in zip(seen, images, of_seen.variance, of_seen.dark, strict=True):
            drawn = Noise(of_one, dark, of_seen.texture, of_seen.rays), image_seed(seed, image)
            found.append(variances(model, x[None].to(device), own, *drawn))
            progress(place * frames + len(found), len(pixels))
        variance = np.stack([np.clip(np.maximum(one.tweedie, one.again), 0, one.noise) for one in found])
        x_hat = np.stack([one.x_hat for one in found])
        if series is not None:
            variance, x_hat = series.spread_back(variance), series.back(x_hat)
        variance = variance + left**2 * np.maximum(noise.variance - variance, 0)
        deviation = np.sqrt(np.where(domain.far_out(images), noise.variance, variance))  # those come back as they are
        result[place::places] = domain.spread_back(deviation, x_hat)
        if floor:
            means[place::places] = domain.back(x_hat)
    return deviations_of_signal(means, result, inverse_of(means, floor)) if floor else result


class Noise(NamedTuple):
    """Of images (..., rows, columns): variance, the share of that which `NoiseLevel.dark` tells, texture, its rays."""

    variance: np.ndarray
    dark: np.ndarray
    texture: Texture
    rays: float = 0.0


def noise_in(domain: Domain, images: np.ndarray) -> Noise:
    """That of images (N, rows, columns), as the student sees them."""
    x_noisy, level = torch.from_numpy(domain.into(images))[:, None], domain.level
    around = brightness(x_noisy).numpy()
    variance = alive(x_noisy).numpy() * level.variance(around, level.over(x_noisy.shape))
    return Noise(variance[:, 0], level.dark_at(around)[:, 0], level.texture, level.rays)


def _of_components(series: Components, noise: Noise) -> Noise:
    """Of the components of frames with this noise."""
    variance, dark = series.spread(noise.variance), series.spread(noise.variance * noise.dark)
    return Noise(variance, dark / np.maximum(variance, 1e-30), noise.texture)


@dataclass(frozen=True)
class Variances:
    """The student's result, the two estimates of its error's variance, and the noise's; each (rows, columns)."""

    x_hat: np.ndarray
    tweedie: np.ndarray
    again: np.ndarray
    noise: np.ndarray


def variances(model: Model, x_noisy: Tensor, own: list[bool], noise: Noise, seed: int) -> Variances:
    """For an image (1, C, H, W) that `seen_by_student` gives, and the noise (H, W) in it."""
    generator = torch.Generator().manual_seed(seed)
    image, (of_noise, dark) = x_noisy[:, :1].cpu(), (torch.from_numpy(of)[None, None] for of in noise[:2])
    channels = torch.tensor(own, device=x_noisy.device)[:, None, None]  # neighbours keep the noise that they have
    x_hat = _student(model, x_noisy)
    passed, drawn, again = (torch.zeros_like(image) for _ in range(3))
    along = amplitudes_over(image[0, 0].numpy(), noise.rays) if noise.rays else None
    for _ in range(DRAWS):
        if along is None:
            n = draw_like(of_noise.sqrt(), noise.texture, generator, dark)
        else:
            n = of_noise.sqrt() * draw_along(along, noise.texture, generator)
        shift = channels * n.to(x_noisy)
        change = _student(model, x_noisy + SMALL * shift) - x_hat
        error = _student(model, torch.where(channels, x_hat.to(x_noisy), x_noisy) + shift) - x_hat
        passed, drawn, again = passed + n * change / SMALL, drawn + n**2, again + error**2
    tweedie = noise.variance * _blurred(passed) / np.maximum(_blurred(drawn), 1e-12)
    return Variances(x_hat[0, 0].numpy(), tweedie, _blurred(again) / DRAWS, noise.variance)


def _student(model: Model, x: Tensor) -> Tensor:
    with torch.no_grad():
        return tiled(model.student, x).float().cpu()


def _blurred(x: Tensor) -> np.ndarray:
    return np.asarray(gaussian_filter(x[0, 0].numpy(), BLUR))
