"""Stage 2: the conditional diffusion model, trained on noisy images given the frozen blind-spot network's condition."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffdenoise.config import DiffusionSettings
from diffdenoise.diffusion.leak import draw_hidden, mask, redraw
from diffdenoise.diffusion.schedule import diffuse, make_schedule, target
from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.networks.unet import ConditionalUNet, ImprovedDDPMUNet
from diffdenoise.training.blind_spot import mean_and_variance
from diffdenoise.training.slices import SliceStore, draw_boxes
from diffdenoise.training.stage import Stage, pixel_loss


def make_diffusion(settings: DiffusionSettings) -> nn.Module:
    """The network of stage 2: (x_t, condition, t) -> prediction, all images (N, 1, H, W)."""
    network = {"convolutional": ConditionalUNet, "improved_ddpm": ImprovedDDPMUNet}[settings.network]
    return network(1, 1, settings.widths, settings.blocks)


class DiffusionStage(Stage):
    """Trains on crops of the noisy slices (`noisy`) and of stage 1's output for them (`known`: x_c and v_total).

    blind_spot: the frozen network, which runs inside the step where a cure of the leak asks for it; patch: its hidden
    patch.
    """

    settings: DiffusionSettings

    def __init__(
        self,
        settings: DiffusionSettings,
        blind_spot: nn.Module,
        patch: int,
        chain: ChainTarget,
        noisy: SliceStore,
        known: SliceStore,
        seed: int,
    ) -> None:
        super().__init__(make_diffusion(settings), settings, seed)
        self.frozen = [blind_spot.eval().requires_grad_(False)]  # in a list: not part of what this stage trains
        self.patch, self.chain, self.noisy, self.known = patch, chain, noisy, known
        self.abar = make_schedule(settings.schedule, settings.timesteps).float()

    def loss_at(self, step: int, generator: torch.Generator) -> Tensor:
        """Loss of the prediction at a random time, on the pixels that the condition does not know."""
        boxes = draw_boxes(self.noisy.shapes, self.seed, step, self.settings.batch, self.settings.crop)
        x_noisy, known = self.place(self.noisy.crops(boxes)), self.place(self.known.crops(boxes))
        condition, scored = self.condition(x_noisy, known, generator)
        t = torch.randint(len(self.abar), (len(x_noisy),), generator=generator)
        eps = torch.randn(x_noisy.shape, generator=generator).to(x_noisy)
        abar_t = self.abar[t][:, None, None, None].to(x_noisy)
        x_0 = self.chain.encode(x_noisy, condition)
        output = self.network(diffuse(x_0, eps, abar_t), condition, t.to(x_noisy.device)).float()
        loss = pixel_loss(self.settings.loss, output - target(self.settings.prediction, x_0, eps, abar_t))
        return (loss * scored).sum() / scored.sum().clamp(min=1)

    def condition(self, x_noisy: Tensor, known: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(condition, scored pixels), both (N, 1, H, W), with the leak open or closed as the settings say."""
        x_c, v_total = known.chunk(2, dim=1)
        if self.settings.leak == "open":
            return x_c, torch.ones_like(x_c)
        shape = tuple(x_noisy.shape)
        scored, hidden = (
            m.to(x_noisy.device) for m in draw_hidden(shape, self.settings.hidden_share, self.patch, generator)
        )
        if self.settings.leak == "masked":
            changed = mask(x_noisy, hidden, self.patch, generator)
        else:
            changed = redraw(x_noisy, hidden, x_c, v_total, generator)
        with torch.no_grad():
            condition, _ = mean_and_variance(self.frozen_network(changed))
        return condition, scored.float()

    def frozen_network(self, x: Tensor) -> Tensor:
        """Stage 1's network, brought to this stage's device when first needed."""
        self.frozen[0] = self.frozen[0].to(x.device)
        return self.frozen[0](x)
