"""What a diffusion chain samples: the noisy image itself, as published, or its difference from the condition.

Both describe the same distribution q(x_noisy | x_c), shifted and scaled. In the difference a network that knows nothing
yet predicts zero and gives back the condition; in the image it has to copy the condition first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor


@dataclass(frozen=True)
class ChainTarget:
    """The affine map between images (about [0, 1]) and the chain's x_0 (about unit variance); scale > 0."""

    kind: Literal["image", "residual"]
    scale: float = 0.5

    def encode(self, x: Tensor, x_c: Tensor) -> Tensor:
        """Image -> x_0, given the condition; same shape."""
        return (x - (x_c if self.kind == "residual" else 0.5)) / self.scale

    def decode(self, x_0: Tensor, x_c: Tensor) -> Tensor:
        """x_0 -> image, given the condition; same shape."""
        return x_0 * self.scale + (x_c if self.kind == "residual" else 0.5)

    def scale_spread(self, spread: Tensor) -> Tensor:
        """A difference of two x_0 in image units."""
        return spread * self.scale
