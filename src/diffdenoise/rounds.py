"""What the trained networks make of an image, round by round; one round is condition, SRDS, fusion.

Round 1 is given the blind-spot network's x_c. The paper's iterations: the result of a round is the next round's
condition. Which result is a choice (`Config.feedback`): the student's image, x_hat or the fused image.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from diffdenoise.config import Config, DiffusionSettings, TeacherSettings, require_teacher
from diffdenoise.diffusion.fusion import bounded, fuse, recalibrate
from diffdenoise.diffusion.sampling import Network, image_noise, srds
from diffdenoise.diffusion.schedule import make_schedule
from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.model import Model
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.noise.recorruption import alive
from diffdenoise.tiling import tiled
from diffdenoise.training.blind_spot import mean_and_variance


@dataclass(frozen=True)
class Images:
    """What sampling starts from, each (N, 1, H, W), normalised; the condition of the first round is x_c."""

    x_noisy: Tensor
    x_c: Tensor
    v_total: Tensor
    condition: Tensor


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
    images: Images,
    s2: Tensor,
    seeds: list[int],
) -> Sampled:
    """The teacher's image. s2: noise variance per pixel; seeds: one per image.

    x_noisy is used by the fusion alone; without `teacher.fuse`, `fused` is x_hat.
    """
    condition = images.condition
    network = bind_condition(diffusion, condition)
    abar = make_schedule(settings.schedule, settings.timesteps)
    shape = condition.shape[1:]
    pairs = [image_noise([seed + pair for seed in seeds], shape).to(condition) for pair in range(teacher.pairs)]
    results = [srds(network, eps, abar, teacher.steps, settings.prediction) for eps in pairs]
    means, spreads = (torch.stack(part) for part in zip(*results, strict=True))
    x_hat = chain.decode(means.mean(0), condition)
    single = chain.decode(means[0] + spreads[0], condition)
    spread = chain.scale_spread(spreads.square().mean(0).sqrt())
    fused = put_back(x_hat, images, s2, teacher.bound_level) if teacher.fuse else x_hat
    return Sampled(single, x_hat, spread, fused)


def put_back(x_blind: Tensor, images: Images, s2: Tensor, bound_level: bool = False) -> Tensor:
    """A blind estimate fused with x_noisy, its variance carried over from x_c; it may bound that of the noise."""
    v_total = recalibrate(images.v_total, images.x_c, x_blind, images.x_noisy, alive(images.x_noisy))
    return fuse(x_blind, images.x_noisy, v_total, bounded(s2, v_total, images.x_c) if bound_level else s2)


def bind_condition(diffusion: nn.Module, x_c: Tensor) -> Network:
    """The diffusion network for given conditions, tiled: (x_t, t) -> prediction in float32."""

    def network(x_t: Tensor, t: Tensor) -> Tensor:
        return tiled(lambda x, c: diffusion(x, c, t).float(), x_t, x_c)

    return network


@torch.no_grad()
def sample_slice(
    model: Model, x_noisy: Tensor, level: NoiseLevel, seeds: list[int], number: int | None = None
) -> Sampled:
    """SRDS and fusion of normalised images (N, 1, H, W) as the model's settings say, in a round (None: the last).

    Raises ConfigError if the model has nothing to sample from.
    """
    number, config = number or len(model.rounds), model.config
    diffusion = model.rounds[number - 1].diffusion
    require_teacher(config)
    assert diffusion is not None
    images = images_of_round(model, x_noisy, level, seeds, number)
    s2 = variance_map(level, images.x_c)
    return sample(diffusion, config.diffusion, teacher_of_round(config, number), model.chain, images, s2, seeds)


def images_of_round(model: Model, x_noisy: Tensor, level: NoiseLevel, seeds: list[int], number: int) -> Images:
    """The condition of a round and what belongs to it; of the model, the rounds before are used."""
    assert model.blind_spot is not None
    x_c, v_total = predict_blind(model.blind_spot, x_noisy)
    return Images(x_noisy, x_c, v_total, x_c if number == 1 else feed_back(model, x_noisy, level, seeds, number - 1))


@torch.no_grad()
def feed_back(model: Model, x_noisy: Tensor, level: NoiseLevel, seeds: list[int], number: int) -> Tensor:
    """What round `number` gives to the next as its condition, (N, 1, H, W): an output of the composed map."""
    if model.config.feedback == "student":
        return tiled(model.rounds[number - 1].student, x_noisy).float()
    sampled = sample_slice(model, x_noisy, level, seeds, number)
    return sampled.x_hat if model.config.feedback == "x_hat" else sampled.fused


def teacher_of_round(config: Config, number: int) -> TeacherSettings:
    """Only blind estimates are fused, and only once: not where an estimate that knows its own pixel was fed back."""
    blind = number == 1 or config.feedback == "x_hat"
    return config.teacher if blind else config.teacher.model_copy(update={"fuse": False})


def why_not_to_fuse(config: Config) -> str | None:
    """What to say where the fusion, which takes for granted that x_hat is blind, is given what is not."""
    if not (config.has_teacher and config.teacher.fuse):
        return None
    if not config.blind_spot.is_blind:
        seen = 'blind_spot.pooling = "global" the blind-spot network sees the pixel that it is to predict'
    elif config.diffusion.leak in ("open", "damped"):
        seen = f'diffusion.leak = "{config.diffusion.leak}" the diffusion model can find the noise of the pixel again'
    else:
        return None
    return (
        f"With {seen}. Fusing puts that noise back a second time: set teacher.fuse = false, as the preset paper has it."
    )


@torch.no_grad()
def predict_blind(blind_spot: nn.Module, x_noisy: Tensor) -> tuple[Tensor, Tensor]:
    """(x_c, v_total), each (N, 1, H, W), from normalised noisy images of the same shape."""
    alignment = blind_spot.alignment
    assert isinstance(alignment, int)
    return mean_and_variance(tiled(blind_spot, x_noisy, alignment=alignment))


def variance_map(level: NoiseLevel, x_c: Tensor) -> Tensor:
    """Noise variance at each pixel of whole slices, by the brightness that the condition gives; same shape, device."""
    return torch.from_numpy(level.variance(x_c.cpu().numpy(), level.over(x_c.shape))).to(x_c)


def image_seed(seed: int, image: np.ndarray) -> int:
    """The seed of an image's noise: from its own content, so that neither batch, order nor file name matters."""
    digest = hashlib.sha256(np.ascontiguousarray(image, dtype=np.float32).tobytes() + str(seed).encode()).digest()
    return int.from_bytes(digest[:6], "big")
