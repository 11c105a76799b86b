"""Stage 1: the blind-spot network, trained on noisy images alone to predict each pixel from its surroundings.

It learns two things: the mean x_c of the noisy pixel given its surroundings, which is the mean of the clean one too,
for the noise is independent and averages to zero; and v_total, the variance of x_noisy - x_c, by Gaussian likelihood.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from diffdenoise.config import BlindSpotSettings
from diffdenoise.networks.half_plane import HalfPlaneNetwork
from diffdenoise.networks.local_global import LocalGlobalNetwork
from diffdenoise.networks.patch_blind import PatchBlindNetwork
from diffdenoise.networks.puca import PUCA
from diffdenoise.training.slices import SliceStore, draw_boxes
from diffdenoise.training.stage import Batch, Stage, pixel_loss

VARIANCE_WEIGHT = 0.1  # of the likelihood beside the mean's loss; the mean is the harder task
LOG_VARIANCE_RANGE = (-18.0, 4.0)  # normalised images: a standard deviation from 1e-4 to 7


def make_blind_spot(settings: BlindSpotSettings) -> nn.Module:
    """The network of stage 1: (N, 1, H, W) -> (N, 2, H, W), mean and log variance; hides 1 pixel if patch is None."""
    patch, widths, blocks = settings.patch or 1, settings.widths, settings.blocks
    if settings.network == "puca":
        return PUCA(1, 2, widths, blocks, settings.pooling, settings.crop)
    if settings.network == "local_global":
        return LocalGlobalNetwork(1, 2, patch, widths, blocks, crop=settings.crop)
    return {"patch_blind": PatchBlindNetwork, "half_plane": HalfPlaneNetwork}[settings.network](
        1, 2, patch, widths, blocks
    )


def mean_and_variance(output: Tensor) -> tuple[Tensor, Tensor]:
    """(x_c, v_total), each (N, 1, H, W), from the output of a blind-spot network."""
    mean, log_variance = output.float().chunk(2, dim=1)
    return mean, log_variance.clamp(*LOG_VARIANCE_RANGE).exp()


class BlindSpotStage(Stage):
    """Trains on crops of the noisy slices; expected_variance starts the variance output near its final size."""

    settings: BlindSpotSettings

    def __init__(self, settings: BlindSpotSettings, noisy: SliceStore, seed: int, expected_variance: float) -> None:
        super().__init__(make_blind_spot(settings), settings, seed)
        self.noisy = noisy
        with torch.no_grad():
            final = [layer for layer in self.network.modules() if isinstance(layer, nn.Conv2d)][-1]
            assert final.bias is not None
            final.bias[1] = math.log(max(expected_variance, 1e-6))

    def batch_at(self, step: int, generator: torch.Generator) -> Batch:
        """Noisy crops, (N, 1, H, W)."""
        boxes = draw_boxes(self.noisy.shapes, self.seed, step, self.settings.batch, self.settings.crop)
        return (self.noisy.crops(boxes),)

    def loss_of(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Scale-free loss of the mean, plus the Gaussian negative log likelihood of the variance."""
        (x_noisy,) = batch
        x_c, v_total = mean_and_variance(self(x_noisy))
        error = x_noisy - x_c
        per_pixel = pixel_loss(self.settings.loss or "l2", error)
        likelihood = v_total.log() + error.detach() ** 2 / v_total
        # Divided by its own size, the mean's loss weighs the same whatever the noise and the normalisation.
        return (per_pixel / per_pixel.mean().detach().clamp(min=1e-12) + VARIANCE_WEIGHT * likelihood).mean()
