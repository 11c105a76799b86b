"""Apply a model to slices: tile by tile, each image with its own noise, the same result in any batch or order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from diffdenoise.config import DiffusionSettings, TeacherSettings
from diffdenoise.diffusion.fusion import fuse, recalibrate
from diffdenoise.diffusion.sampling import Network, image_noise, srds
from diffdenoise.diffusion.schedule import make_schedule
from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.model_file import Model
from diffdenoise.noise.estimate import NoiseLevel, constant_level, estimate_noise
from diffdenoise.normalisation import normalise, restore
from diffdenoise.training.blind_spot import mean_and_variance

Sampler = Literal["student", "srds"]
TILE = 768  # side of the part of a tile that is kept, in pixels: bounds the memory, whatever the image
HALO = 96  # seen around it and thrown away; multiples of 12 keep phases and strides of all networks aligned


def tiled(function: Callable[..., Tensor], *images: Tensor, tile: int = TILE, halo: int = HALO) -> Tensor:
    """function(*images) for images (N, C, H, W) of one size, computed in overlapping tiles where they are large.

    A network that sees no further than the halo gives the same result as on the whole image.
    """
    height, width = images[0].shape[-2:]
    if max(height, width) <= tile + 2 * halo:
        return function(*images)
    rows = []
    for top in range(0, height, tile):
        row = []
        for left in range(0, width, tile):
            up, before = min(halo, top), min(halo, left)
            window = (..., slice(top - up, top + tile + halo), slice(left - before, left + tile + halo))
            part = function(*(image[window] for image in images))
            row.append(part[..., up : up + tile, before : before + tile])
        rows.append(torch.cat(row, dim=-1))
    return torch.cat(rows, dim=-2)


@torch.no_grad()
def predict_blind(blind_spot: nn.Module, x_noisy: Tensor) -> tuple[Tensor, Tensor]:
    """(x_c, v_total), each (N, 1, H, W), from normalised noisy images of the same shape."""
    return mean_and_variance(tiled(blind_spot, x_noisy))


@dataclass(frozen=True)
class Sampled:
    """SRDS and fusion for a batch of images, each (N, 1, H, W), normalised.

    chain: the first +eps chain alone, to see what pairing does; spread: root mean square over the pairs, not negative.
    """

    chain: Tensor
    x_hat: Tensor
    spread: Tensor
    fused: Tensor


@torch.no_grad()
def sample(
    diffusion: nn.Module,
    settings: DiffusionSettings,
    teacher: TeacherSettings,
    chain: ChainTarget,
    images: tuple[Tensor, Tensor, Tensor],
    s2: Tensor,
    seeds: list[int],
) -> Sampled:
    """The teacher's image. images: (x_noisy, x_c, v_total); s2: noise variance per pixel; seeds: one per image.

    x_noisy is used by the fusion alone.
    """
    x_noisy, x_c, v_total = images
    network = bind_condition(diffusion, x_c)
    abar = make_schedule(settings.schedule, settings.timesteps)
    pairs = [image_noise([seed + pair for seed in seeds], x_c.shape[1:]).to(x_c) for pair in range(teacher.pairs)]
    results = [srds(network, eps, abar, teacher.steps, settings.prediction) for eps in pairs]
    means, spreads = (torch.stack(part) for part in zip(*results, strict=True))
    x_hat = chain.decode(means.mean(0), x_c)
    fused = fuse(x_hat, x_noisy, recalibrate(v_total, x_c, x_hat, x_noisy), s2) if teacher.fuse else x_hat
    single = chain.decode(means[0] + spreads[0], x_c)
    return Sampled(single, x_hat, chain.scale_spread(spreads.square().mean(0).sqrt()), fused)


def bind_condition(diffusion: nn.Module, x_c: Tensor) -> Network:
    """The diffusion network for given conditions, tiled: (x_t, t) -> prediction in float32."""

    def network(x_t: Tensor, t: Tensor) -> Tensor:
        return tiled(lambda x, c: diffusion(x, c, t).float(), x_t, x_c)

    return network


@dataclass(frozen=True)
class Denoised:
    """A result in the units of the input, (slices, rows, columns); spread only where a sampler gave one."""

    pixels: np.ndarray
    spread: np.ndarray | None


def denoise_slices(
    model: Model,
    pixels: np.ndarray,
    sampler: Sampler = "student",
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Denoised:
    """Denoise one scan, float (slices, rows, columns) in its own units. The spread comes with sampler "srds" alone.

    Each slice of the result stays within the range of its own noisy pixels.
    """
    if pixels.min() == pixels.max():  # nothing there to denoise, and no range to normalise by
        return Denoised(pixels.copy(), np.zeros_like(pixels) if sampler == "srds" else None)
    offset, scale = model.normalisation.range_of(pixels)
    level = noise_level(model, pixels, offset, scale)
    result = np.empty(pixels.shape, np.float32)
    spread = np.empty(pixels.shape, np.float32) if sampler == "srds" else None
    for index, image in enumerate(pixels):
        x_noisy = torch.from_numpy(normalise(image, offset, scale))[None, None].to(device)
        if spread is None:
            with torch.no_grad():
                clean = tiled(model.student, x_noisy)
        else:
            sampled = sample_slice(model, x_noisy, level, [image_seed(seed, image)])
            clean = sampled.fused
            spread[index] = sampled.spread[0, 0].cpu().numpy() * scale
        # Magnitudes stay positive, stored ranges suffice. No bias: the noisy extremes lie outside the clean ones.
        result[index] = restore(clean[0, 0].cpu().numpy(), offset, scale).clip(image.min(), image.max())
        progress(index + 1, len(pixels))
    return Denoised(result, spread)


def sample_slice(model: Model, x_noisy: Tensor, level: NoiseLevel, seeds: list[int]) -> Sampled:
    """SRDS and fusion of normalised images (N, 1, H, W) with a model's own settings."""
    x_c, v_total = predict_blind(model.blind_spot, x_noisy)
    s2 = variance_map(level, x_c)
    settings = model.config
    images = (x_noisy, x_c, v_total)
    return sample(model.diffusion, settings.diffusion, settings.teacher, model.chain, images, s2, seeds)


def noise_level(model: Model, pixels: np.ndarray, offset: float, scale: float) -> NoiseLevel:
    """Noise level of a scan in normalised units: the one the user gave, or estimated for the model's hidden patch."""
    if model.config.sigma is not None:
        return constant_level(model.config.sigma / scale)
    return estimate_noise(normalise(pixels, offset, scale), (model.config.blind_spot.patch or 1) // 2)


def variance_map(level: NoiseLevel, x_c: Tensor) -> Tensor:
    """Noise variance at each pixel, from the brightness that the condition gives it; same shape and device."""
    return torch.from_numpy(level.variance(x_c.cpu().numpy())).to(x_c)


def image_seed(seed: int, image: np.ndarray) -> int:
    """The seed of an image's noise: from its own content, so that neither batch, order nor file name matters."""
    digest = hashlib.sha256(np.ascontiguousarray(image, dtype=np.float32).tobytes() + str(seed).encode()).digest()
    return int.from_bytes(digest[:6], "big")
