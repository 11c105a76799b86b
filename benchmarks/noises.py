"""The noises of the benchmark: their levels and the scale they are meant in stand here and nowhere else.

Clean images lie in [0, 1]; sigma is a share of that range. What most of them do is in `diffdenoise.noise.models`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from diffdenoise.noise import models


@dataclass(frozen=True)
class Noise:
    """strength: sigma (gaussian, uneven, correlated, zero-filled, rician), lam (poisson) or looks (gamma).

    width: in pixels (correlated), the share of the frequencies that hold anything (zero-filled; rician, 0: all), or of
    the image's half side, that of the hill in the middle (uneven).
    """

    kind: Literal["gaussian", "uneven", "correlated", "zero-filled", "poisson", "gamma", "rician"]
    strength: float
    width: float = 0.0

    def add(self, clean: np.ndarray, seed: int) -> np.ndarray:
        """The clean image (slices, rows, columns) with this noise; never clipped."""
        generator = torch.Generator().manual_seed(seed)
        image = torch.from_numpy(clean)
        if self.kind == "correlated":
            return models.correlated(image, self.strength, self.width, generator).numpy()
        if self.kind == "uneven":
            over = torch.from_numpy(uneven(clean.shape, self.width))
            return (image + over * (models.gaussian(image, self.strength, generator) - image)).numpy()
        if self.kind == "zero-filled":
            return (image + self.strength * zero_filled(image.shape, self.width, generator)).numpy()
        if self.kind == "rician" and self.width:
            real, imaginary = (self.strength * zero_filled(image.shape, self.width, generator) for _ in range(2))
            return torch.hypot(image + real, imaginary).numpy()
        return getattr(models, self.kind)(image, self.strength, generator).numpy()

    def deviation(self, clean: np.ndarray) -> np.ndarray:
        """Standard deviation of the noise at each pixel of a clean image."""
        if self.kind == "poisson":
            return np.sqrt(clean / self.strength)
        if self.kind == "gamma":
            return clean / np.sqrt(self.strength)
        if self.kind == "rician":
            return np.sqrt(np.maximum(clean**2 + 2 * self.strength**2 - self.mean(clean) ** 2, 0))
        over = uneven(clean.shape, self.width) if self.kind == "uneven" else 1
        return np.full_like(clean, self.strength) * over

    def mean(self, clean: np.ndarray) -> np.ndarray:
        """E[x_noisy] for each pixel of a clean image: the image itself but for Rician noise."""
        if self.kind != "rician":
            return clean
        from scipy.special import i0e, i1e

        quarter = (clean / self.strength) ** 2 / 4
        laguerre = (1 + 2 * quarter) * i0e(quarter) + 2 * quarter * i1e(quarter)
        return (self.strength * np.sqrt(np.pi / 2) * laguerre).astype(clean.dtype)

    def kernel(self, reach: int = 8) -> np.ndarray:
        """The filter that makes this noise from white noise of variance 1, (2 reach + 1) pixels square.

        Of Rician noise that of each channel, which is as good as the magnitude's where there is signal.
        """
        if self.kind in ("zero-filled", "rician") and self.width:
            line = np.sinc(self.width * np.arange(-3 * reach, 3 * reach + 1))
            return self.strength * np.outer(line, line) / np.square(line).sum()
        offsets = np.arange(-reach, reach + 1)
        line = np.exp(-(offsets**2) / (2 * self.width**2)) if self.width else (offsets == 0).astype(float)
        square = np.outer(line, line)
        return self.strength * square / np.linalg.norm(square)


def uneven(shape: tuple[int, ...], width: float) -> np.ndarray:
    """How many times as strong as sigma noise is at each pixel (rows, columns): 1 on the mean square, 3 to 1."""
    rows, columns = (np.linspace(-1, 1, side, dtype=np.float32) for side in shape[-2:])
    hill = 1 + 2 * np.exp(-(rows[:, None] ** 2 + columns**2) / (2 * width**2))
    return hill / np.sqrt(np.square(hill).mean())


def zero_filled(shape: tuple[int, ...], share: float, generator: torch.Generator) -> torch.Tensor:
    """Noise of variance 1 whose k-space is empty beyond a share of the frequencies down and across."""
    spectrum = torch.fft.fft2(torch.randn(shape, generator=generator))
    rows, columns = (torch.fft.fftfreq(side).abs() < share / 2 for side in shape[-2:])
    inside = rows[:, None] & columns
    return torch.fft.ifft2(spectrum * inside).real / inside.float().mean().sqrt()


NOISES = {
    **{f"gaussian-{level}": Noise("gaussian", level / 255) for level in (6, 15, 25, 50)},
    **{f"poisson-{counts}": Noise("poisson", counts) for counts in (200, 700)},
    "gamma-30": Noise("gamma", 30),
    **{f"correlated-{width:g}": Noise("correlated", 15 / 255, width) for width in (0.5, 1.2)},
    "zero-filled-0.5": Noise("zero-filled", 15 / 255, 0.5),  # a matrix interpolated to twice its size, as MR often is
    "uneven-15": Noise("uneven", 15 / 255, 0.45),  # as parallel imaging makes it
    "rician-15": Noise("rician", 15 / 255),
    **{f"zero-filled-rician-{level}": Noise("rician", level / 255, 0.5) for level in (6, 15)},  # the most usual of MR
    **{f"correlated-{width:g} at 6": Noise("correlated", 6 / 255, width) for width in (0.5, 1.2)},  # the paper's
}
