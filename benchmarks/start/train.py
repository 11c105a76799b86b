"""Train the student on synthetic images with synthetic noise; its weights are what a fit with `start` begins from.

    python -m benchmarks.start.train FOLDER            half an hour on one CPU core
    cp FOLDER/start.safetensors src/diffdenoise/training/

Goes on where it was stopped. Noise of any strength from LOW to HIGH, white or correlated, equal or growing with
brightness: a fit knows its own better, and learns it from there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Generator, Tensor

from benchmarks.start.images import synthetic_images
from diffdenoise.config import StudentSettings
from diffdenoise.noise.models import correlated
from diffdenoise.presets import make_config
from diffdenoise.run_folder import cached
from diffdenoise.scans.atomic import atomic_file
from diffdenoise.training.slices import SliceStore, draw_boxes, write_scan_slices
from diffdenoise.training.stage import Batch, Stage, train
from diffdenoise.training.start import FILE
from diffdenoise.training.student import make_student

VOLUMES, SLICES, SIDE = 20, 24, 192  # of the images: 480 in all
LOW, HIGH = 0.01, 0.45  # standard deviation of the noise, where images span [0, 1]
WHITE, WIDEST = 0.5, 1.5  # share of the crops whose noise is white; pixels, width of the others' kernel at most
EVEN = 0.6  # share of the crops whose noise is as strong everywhere
WEIGHT = -1.2  # power of the noise that a crop's error is weighted with: errors fall about so


class StartStage(Stage):
    """Noisy crops in, clean crops wanted, by L2."""

    settings: StudentSettings

    def __init__(self, settings: StudentSettings, clean: SliceStore, seed: int) -> None:
        super().__init__(make_student(settings), settings, seed)
        self.clean = clean

    def batch_at(self, step: int, generator: Generator) -> Batch:
        boxes = draw_boxes(self.clean.shapes, self.seed, step, self.settings.batch, self.settings.crop)
        crops = self.clean.crops(boxes)
        noise, sigma = draw_noise(crops, generator)
        return crops + noise, crops, sigma**WEIGHT

    def loss_of(self, batch: Batch, generator: Generator) -> Tensor:
        x_noisy, clean, weight = batch
        return (weight * (self(x_noisy).float() - clean) ** 2).mean()


def draw_noise(crops: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """(noise like the crops (N, 1, H, W), its strength (N, 1, 1, 1)), of all kinds that a fit may meet."""
    uniform = lambda: torch.rand(len(crops), 1, 1, 1, generator=generator)  # noqa: E731
    sigma = LOW * (HIGH / LOW) ** uniform()
    widths = torch.where(uniform() < WHITE, 0.0, 0.3 + (WIDEST - 0.3) * uniform()).flatten()
    fields = [correlated(0 * crop, 1.0, float(width), generator) for crop, width in zip(crops, widths, strict=True)]
    growing = torch.where(uniform() < EVEN, 0.0, uniform())
    shape = (1 - growing + growing * crops.clamp(min=0) / 0.4).sqrt()
    return sigma * shape * torch.stack(fields), sigma


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    images = cached(given.folder / "images", f"{VOLUMES} {SLICES} {SIDE} {given.seed}", _draw(given.seed))
    changes = {"steps": given.steps, "batch": 16, "neighbours": 0, "start": "random"}
    settings = make_config("fast", {"student": changes}).student
    torch.manual_seed(given.seed)
    stage = StartStage(settings, SliceStore(images), given.seed)
    train(stage, "Start", given.folder / "training", given.device, _say)
    weights = {key: tensor.detach().cpu().contiguous() for key, tensor in stage.network.state_dict().items()}
    with atomic_file(given.folder / FILE.name) as beside:
        save_file(weights, beside)
    print(f"Weights: {given.folder / FILE.name}")


def _draw(seed: int):  # type: ignore[no-untyped-def]
    def make(folder: Path) -> None:
        for number in range(VOLUMES):
            images = synthetic_images(SLICES, SIDE, 1000 * (seed + 1) + number)
            write_scan_slices(folder, number, images[:, None])

    return make


def _say(what: str, done: int, total: int) -> None:
    if done % 500 == 0:
        print(f"{what}: {done} of {total}", flush=True)


if __name__ == "__main__":
    main()
