"""Stage 2: the conditional diffusion model, trained on noisy images given the frozen blind-spot network's condition."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from diffdenoise.config import DiffusionSettings
from diffdenoise.diffusion.leak import damp, draw_hidden, mask, redraw
from diffdenoise.diffusion.schedule import diffuse, make_schedule, target
from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.networks.unet import ConditionalUNet, ImprovedDDPMUNet
from diffdenoise.training.slices import SliceStore, draw_boxes
from diffdenoise.training.stage import Batch, Stage, pixel_loss


def make_diffusion(settings: DiffusionSettings) -> nn.Module:
    """The network of stage 2: (x_t, condition, t) -> prediction, all images (N, 1, H, W)."""
    network = {"convolutional": ConditionalUNet, "improved_ddpm": ImprovedDDPMUNet}[settings.network]
    return network(1, 1, settings.widths, settings.blocks)


class DiffusionStage(Stage):
    """Trains on crops of the noisy slices, of stage 1's output for them and of their conditions.

    blind: x_c and v_total of the blind-spot network; conditions: the condition, in the first channel; conditioner: the
    frozen map from noisy images to conditions, which runs inside the step where a cure of the leak asks for it; patch:
    the patch that the blind-spot network hides.
    """

    settings: DiffusionSettings

    def __init__(
        self,
        settings: DiffusionSettings,
        conditioner: Callable[[Tensor], Tensor],
        patch: int,
        chain: ChainTarget,
        noisy: SliceStore,
        blind: SliceStore,
        conditions: SliceStore,
        seed: int,
        chosen: list[list[int]] | None = None,
    ) -> None:
        super().__init__(make_diffusion(settings), settings, seed)
        self.conditioner = [conditioner]  # in a list: if it is a network, it is not what this stage trains
        self.patch, self.chain = patch, chain
        self.noisy, self.blind, self.conditions, self.chosen = noisy, blind, conditions, chosen
        self.abar = make_schedule(settings.schedule, settings.timesteps).float()

    def batch_at(self, step: int, generator: torch.Generator) -> Batch:
        """Crops of the noisy slices (N, 1, H, W), of stage 1's output (N, 2, H, W), of the conditions (N, 1, H, W)."""
        boxes = draw_boxes(self.noisy.shapes, self.seed, step, self.settings.batch, self.settings.crop, self.chosen)
        return self.noisy.crops(boxes), self.blind.crops(boxes), self.conditions.crops(boxes)[:, :1]

    def loss_of(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Loss of the prediction at a random time, on the pixels that are hidden from the condition (open: on all)."""
        x_noisy, blind, condition = batch
        condition, scored = self.cured(x_noisy, blind, condition, generator)
        t = torch.randint(len(self.abar), (len(x_noisy),), generator=generator)
        eps = torch.randn(x_noisy.shape, generator=generator).to(x_noisy)
        abar_t = self.abar[t][:, None, None, None].to(x_noisy)
        x_0 = self.chain.encode(x_noisy, condition)
        output = self(diffuse(x_0, eps, abar_t), condition, t.to(x_noisy.device)).float()
        loss = pixel_loss(self.settings.loss, output - target(self.settings.prediction, x_0, eps, abar_t))
        return (loss * scored).sum() / scored.sum().clamp(min=1)

    def cured(
        self, x_noisy: Tensor, blind: Tensor, condition: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """(condition, scored pixels), both (N, 1, H, W), with the leak open or closed as the settings say."""
        settings, everywhere = self.settings, torch.ones_like(condition)
        x_c, v_total = blind.chunk(2, dim=1)
        if settings.leak == "open":
            return condition, everywhere
        if settings.leak == "damped":
            return damp(condition, v_total, settings.damping, generator), everywhere
        masks = draw_hidden(tuple(x_noisy.shape), settings.hidden_share, self.patch, generator)
        scored, hidden = (m.to(x_noisy.device) for m in masks)
        if settings.leak == "masked":
            changed = mask(x_noisy, hidden, self.patch, generator)
        else:
            changed = redraw(x_noisy, hidden, x_c, v_total, generator)  # not wholly blind: see `leak`
        with torch.no_grad():
            return self.conditioner[0](changed), scored.float()
