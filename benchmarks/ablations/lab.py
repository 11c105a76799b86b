"""The laboratory: tasks, and networks trained once for each of them and kept on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diffdenoise.config import BlindSpotSettings, DiffusionSettings, StageSettings, StudentSettings, TeacherSettings
from diffdenoise.device import precision
from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.noise.estimate import constant_level
from diffdenoise.noise.models import correlated, gaussian
from diffdenoise.phantom import add_details, mni_slices
from diffdenoise.pipeline import trained
from diffdenoise.presets import PRESETS
from diffdenoise.quality.reference import foreground, psnr
from diffdenoise.rounds import Images, Sampled, predict_blind, sample
from diffdenoise.run_folder import cached, key_of, write_json
from diffdenoise.teacher import choose_slices
from diffdenoise.training.blind_spot import BlindSpotStage, mean_and_variance
from diffdenoise.training.diffusion import DiffusionStage
from diffdenoise.training.slices import SliceStore, fill_store, write_scan_slices
from diffdenoise.training.stage import Batch, Stage, autocast, pixel_loss
from diffdenoise.training.student import StudentStage

TRAIN = {"first": 40, "count": 60}
TEST = {"first": 110, "count": 5, "step": 4}
SHARED = Path("../shared/data")


@dataclass(frozen=True)
class Size:
    """How much work a study may do: optimiser steps of each stage and the preset whose networks are trained."""

    name: str
    preset: str
    blind_spot: int
    diffusion: int
    student: int
    teacher_slices: int  # of the training slices, that get a teacher image
    full: bool  # the whole grid of a study, or the part of it that two CPU cores can bear


SIZES = {
    "smoke": Size("smoke", "smoke", 3, 3, 3, 2, full=False),  # for the tests
    "cpu": Size("cpu", "cpu", 1500, 700, 1000, 20, full=False),
    "gpu": Size("gpu", "gpu", 20_000, 10_000, 20_000, 60, full=True),
}


@dataclass(frozen=True)
class Task:
    """A subject with simulated noise: sigma in units of 1/255 of the images' range [0, 1], width in pixels (0: white).

    Train and test are blocks of axial slices 10 mm apart; the MNI152 test slices alone carry fine details. Colin27 is
    read from the folder of development data beside the checkout.
    """

    subject: str = "mni152"
    sigma: float = 25
    width: float = 0
    seed: int = 0

    @property
    def name(self) -> str:
        """For file names."""
        return f"{self.subject}-{self.sigma:g}-{self.width:g}-{self.seed}"

    @cached_property
    def clean(self) -> np.ndarray:
        """Test slices without noise, (slices, rows, columns)."""
        slices = slices_of(self.subject, **TEST)
        return add_details(slices, self.seed)[0] if self.subject == "mni152" else slices

    @cached_property
    def noisy(self) -> tuple[np.ndarray, np.ndarray]:
        """Noisy slices for training and for testing."""
        generator = torch.Generator().manual_seed(self.seed)
        return tuple(self._add(image, generator) for image in (slices_of(self.subject, **TRAIN), self.clean))

    @cached_property
    def mask(self) -> np.ndarray:
        """The head in the test slices."""
        return foreground(slices_of(self.subject, **TEST))

    def psnr(self, images: Tensor | np.ndarray) -> float:
        """PSNR in dB of test images inside the head, data range 1."""
        return psnr(as_array(images), self.clean, 1.0, self.mask)

    def noisy_of(self, clean: np.ndarray) -> np.ndarray:
        """Other test slices, as clean as the task's own, with the noise that is drawn for those."""
        generator = torch.Generator().manual_seed(self.seed)
        self._add(slices_of(self.subject, **TRAIN), generator)
        return self._add(clean, generator)

    def _add(self, clean: np.ndarray, generator: torch.Generator) -> np.ndarray:
        image = torch.from_numpy(clean)
        sigma = self.sigma / 255
        return (
            correlated(image, sigma, self.width, generator) if self.width else gaussian(image, sigma, generator)
        ).numpy()


@lru_cache
def slices_of(subject: str, first: int, count: int, step: int = 1) -> np.ndarray:
    if subject == "mni152":
        return mni_slices(first, count, step)
    import nibabel

    volume = np.asarray(nibabel.load(next((SHARED / "mri_colin27").glob("*.nii*"))).dataobj, dtype=np.float32) / 255
    return np.ascontiguousarray(volume[:, :, first : first + count * step : step].transpose(2, 1, 0)[:, ::-1])


def as_array(images: Tensor | np.ndarray) -> np.ndarray:
    """(slices, rows, columns), float32, of images (N, 1, H, W) or arrays."""
    return images if isinstance(images, np.ndarray) else images[:, 0].float().cpu().numpy()


@dataclass(frozen=True)
class Blind:
    """A trained blind-spot network on a task, with its outputs for the test slices, each (N, 1, H, W)."""

    task: Task
    settings: BlindSpotSettings
    key: str
    network: nn.Module
    noisy: SliceStore
    known: SliceStore
    x_noisy: Tensor
    x_c: Tensor
    v_total: Tensor

    @property
    def s2(self) -> Tensor:
        """The true noise variance."""
        return torch.full_like(self.x_c, (self.task.sigma / 255) ** 2)

    @property
    def images(self) -> Images:
        """For sampling in the first round."""
        return Images(self.x_noisy, self.x_c, self.v_total, self.x_c)


class RegressionStage(DiffusionStage):
    """The ablation every reader asks for: the diffusion's own network as a plain regression of x_noisy on x_c."""

    def loss_of(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Squared error of the prediction on the scored pixels."""
        x_noisy, blind, condition = batch
        x_c, scored = self.cured(x_noisy, blind, condition, generator)
        zero = torch.zeros_like(x_noisy)
        output = self(zero, x_c, zero[:, 0, 0, 0]).float()
        loss = pixel_loss(self.settings.loss, output - self.chain.encode(x_noisy, x_c))
        return (loss * scored).sum() / scored.sum().clamp(min=1)


@dataclass(frozen=True)
class Lab:
    """Trains at a size on a device and keeps everything in a folder; what is there already is not done again."""

    size: Size
    folder: Path
    device: str = "cpu"

    def cell(self, name: str, make: Callable[[], dict[str, Any]], *of: Any) -> dict[str, Any]:
        """The figures of one cell of a study, computed once; of: all that they depend on beside the size."""
        key = key_of(asdict(self.size), self.device, *of)
        path = self.folder / "cells" / f"{name.replace('/', '_')}-{key}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, make())
        return json.loads(path.read_text())

    def settings(self, stage: str, **changes: Any) -> Any:
        """The settings of a stage at this size."""
        base: StageSettings = getattr(PRESETS[self.size.preset], stage)
        return type(base).model_validate({**base.model_dump(), "steps": getattr(self.size, stage), **changes})

    def blind(self, task: Task, **changes: Any) -> Blind:
        """The blind-spot network of a task; the hidden patch is one pixel unless another is named."""
        settings = self.settings("blind_spot", **{"patch": 1, **changes})
        noisy = self.noisy(task)
        key = key_of(task.name, settings.model_dump(), self.device, precision(self.device))
        torch.manual_seed(task.seed)
        stage = BlindSpotStage(settings, noisy, task.seed, 2 * (task.sigma / 255) ** 2)
        network = self._trained(stage, f"blind-{task.name}-{settings.network}", key)
        predict = partial(_fill_known, network, noisy, self.device)
        known = SliceStore(cached(self.folder / f"known-{key}", key, predict))
        x_noisy = torch.from_numpy(task.noisy[1])[:, None].to(self.device)
        return Blind(task, settings, key, network, noisy, known, x_noisy, *predict_blind(network, x_noisy))

    def chain(self, blind: Blind, kind: str) -> ChainTarget:
        """The affine map between images and what a chain samples."""
        return ChainTarget(kind, 0.5 if kind == "image" else float(blind.known.arrays[0][:, 1].mean() ** 0.5))

    def diffusion(self, blind: Blind, kind: type[DiffusionStage] = DiffusionStage, **changes: Any) -> Sampler:
        """A diffusion model given this condition; changes to its settings, as in `DiffusionSettings`."""
        settings = self.settings("diffusion", **changes)
        seed = blind.task.seed + 1
        key = key_of(blind.key, settings.model_dump(), kind.__name__)
        chain = self.chain(blind, settings.target)
        conditioner = lambda x: mean_and_variance(blind.network(x))[0]  # noqa: E731
        torch.manual_seed(seed)
        patch = blind.settings.patch or 1
        stage = kind(settings, conditioner, patch, chain, blind.noisy, blind.known, blind.known, seed)
        return Sampler(blind, settings, chain, self._trained(stage, f"{kind.__name__}-{blind.task.name}", key), key)

    def regression(self, blind: Blind, **changes: Any) -> Tensor:
        """The plain regression's image of the test slices, (N, 1, H, W)."""
        trained_ = self.diffusion(blind, RegressionStage, **changes)
        zero = torch.zeros_like(blind.x_c)
        with torch.no_grad():
            return trained_.chain.decode(trained_.network(zero, blind.x_c, zero[:, 0, 0, 0]).float(), blind.x_c)

    def student(self, sampler: Sampler, teacher: TeacherSettings, output: str, **changes: Any) -> nn.Module:
        """A student of the teacher's `output` ("x_hat" or "fused") for the training slices."""
        settings: StudentSettings = self.settings("student", **changes)
        blind, seed = sampler.blind, sampler.blind.task.seed + 2
        key = key_of(sampler.key, teacher.model_dump(), output)
        make = lambda _, index: getattr(self.on_training_slice(sampler, teacher, index), output)[0]  # noqa: E731
        chosen = choose_slices([TRAIN["count"]], self.size.teacher_slices)
        fill = partial(fill_store, shapes=blind.noisy.shapes, make=make, chosen=chosen)
        taught = SliceStore(cached(self.folder / f"teacher-{key}", key, fill))
        torch.manual_seed(seed)
        stage = StudentStage(settings, blind.noisy, [constant_level(blind.task.sigma / 255)], taught, chosen, seed)
        return self._trained(stage, f"student-{blind.task.name}", key_of(key, settings.model_dump()))

    def on_training_slice(self, sampler: Sampler, teacher: TeacherSettings, index: int, seed: int = 0) -> Sampled:
        """What the teacher makes of a training slice, each (1, 1, H, W)."""
        blind = sampler.blind
        x_noisy, known = (store.slice(0, index)[None].to(self.device) for store in (blind.noisy, blind.known))
        x_c, v_total = known.chunk(2, dim=1)
        s2 = torch.full_like(x_c, (blind.task.sigma / 255) ** 2)
        return sampler.sample(teacher, Images(x_noisy, x_c, v_total, x_c), s2, [1000 * seed + index])

    def _trained(self, stage: Stage, name: str, key: str) -> nn.Module:
        return trained(stage, self.folder / f"{name}-{key}", key, name, self.device, say)

    def noisy(self, task: Task) -> SliceStore:
        """The noisy training slices of a task."""
        folder = self.folder / f"noisy-{task.name}"
        write = lambda to: write_scan_slices(to, 0, task.noisy[0][:, None])  # noqa: E731
        return SliceStore(cached(folder, key_of(asdict(task)), write))


@dataclass(frozen=True)
class Sampler:
    """A trained diffusion model."""

    blind: Blind
    settings: DiffusionSettings
    chain: ChainTarget
    network: nn.Module
    key: str

    def sample(self, teacher: TeacherSettings, images: Images, s2: Tensor, seeds: list[int]) -> Sampled:
        """SRDS and fusion."""
        with autocast(images.x_noisy.device.type):
            return sample(self.network, self.settings, teacher, self.chain, images, s2, seeds)

    def test(self, steps: int, pairs: int = 1, seed: int = 0) -> Sampled:
        """SRDS and fusion of the test slices."""
        blind = self.blind
        seeds = [1000 * seed + number for number in range(len(blind.x_c))]
        return self.sample(TeacherSettings(steps=steps, pairs=pairs), blind.images, blind.s2, seeds)


def apply_student(student: nn.Module, x_noisy: Tensor) -> Tensor:
    """The student's images, (N, 1, H, W)."""
    with torch.no_grad():
        return student(x_noisy).float()


def _fill_known(network: nn.Module, noisy: SliceStore, device: str, folder: Path) -> None:
    make = lambda scan, index: torch.cat(predict_blind(network, noisy.slice(scan, index)[None].to(device)), 1)[0]  # noqa: E731
    fill_store(folder, [(count, 2, *size) for count, _, *size in noisy.shapes], make)


def say(what: str, done: int, total: int) -> None:
    """Progress, told at the end."""
    if done == total:
        print(f"  {what}: {total} steps", flush=True)
