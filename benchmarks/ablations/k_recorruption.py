"""Study k: a student that learns from the noisy images alone, without a teacher."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.ablations.lab import TRAIN, Lab, Task, apply_student, say, slices_of
from benchmarks.writing import markdown, panels
from diffdenoise.config import StudentSettings
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.noise.recorruption import recorrupt
from diffdenoise.noise.texture import smoothed
from diffdenoise.run_folder import key_of
from diffdenoise.training.recorrupted import RecorruptedStage
from diffdenoise.training.slices import SliceStore, cut, draw_boxes
from diffdenoise.training.stage import Batch, Stage, train
from diffdenoise.training.student import make_student

TITLE = "A student without a teacher"
QUESTION = """The student network, with the same crops, optimiser and number of steps, learns from clean images (the
bound; by L1, as the paper's student), or from the noisy images alone by recorruption, by L2: with one noise z for
each crop or a symmetric pair +z and -z (half as many crops then, so that a step costs the same), for three alpha.
Then with a wrong noise level, as it is and bounded where the student turns the noise upside down
(`training/recorrupted.py`). Last, noise that the level does not describe: correlated by a kernel of 1.2 px, which is
told or not, and white noise that grows from 0.4 to 1.6 times the level from the top of the image to its bottom."""
FINDING = """With the right level the student is 0.25 dB below the supervised one after as many steps, and on correlated
noise whose kernel is told 0.01 dB; the pair gains less than a tenth over one noise, and alpha matters little up to 0.5.
But what a wrong level does is lopsided: a level 10 % too high costs 1.3 dB, 30 % too high 6 dB, for the noise is turned
upside down. The bound, which only a pair makes possible, brings that to 0.6 and 0.8 dB, twice the level to 1.2, and
costs nothing where the level is right. A level that is too low leaves noise (0.5 dB for 10 %, 2.6 for 23 %), and there
the bound does nothing; so noise that grows over the image, of which one level is too high in one half and too low in
the other, is 1.1 dB below the supervised student instead of 3.1. Correlated noise that is taken for white stays."""
ALPHAS = (0.2, 0.5, 1.0)
FACTORS = (0.77, 0.9, 1.0, 1.1, 1.3, 2.0)
RAMP = (0.4, 1.6)
OTHERS = (
    *(f"1.2 px, {what}" for what in ("noisy", "supervised", "kernel told", "taken for white")),
    *(f"growing, {what}" for what in ("noisy", "supervised", "level as given", "bounded")),
)


class Uneven(Task):
    """Noise that is stronger in some places than in others."""

    @property
    def over(self) -> np.ndarray:
        """How many times as strong, (rows, columns) or what is broadcast to that."""
        raise NotImplementedError

    @cached_property
    def noisy(self) -> tuple[np.ndarray, np.ndarray]:
        """Noisy slices for training and for testing."""
        clean = slices_of(self.subject, **TRAIN), self.clean
        even = Task(self.subject, self.sigma, self.width, self.seed).noisy
        return tuple(image + self.over * (noisy - image) for image, noisy in zip(clean, even, strict=True))


class Ramped(Uneven):
    """It grows down the image."""

    @property
    def name(self) -> str:
        """For file names."""
        return f"{super().name}-ramp"

    @property
    def over(self) -> np.ndarray:
        """From the first of RAMP to the last."""
        return np.linspace(*RAMP, self.clean.shape[1], dtype=np.float32)[:, None]


WHITE, CORRELATED, RAMPED = Task(), Task(width=1.2), Ramped()


class Supervised(Stage):
    """L1 against the clean crops."""

    settings: StudentSettings

    def __init__(self, settings: StudentSettings, noisy: SliceStore, task: Task) -> None:
        super().__init__(make_student(settings), settings, task.seed)
        self.noisy, self.clean = noisy, slices_of(task.subject, **TRAIN)

    def batch_at(self, step: int, generator: torch.Generator) -> Batch:
        """Noisy crops and clean ones."""
        boxes = draw_boxes(self.noisy.shapes, self.seed, step, self.settings.batch, self.settings.crop)
        clean = torch.stack([torch.from_numpy(cut(self.clean[box.slice][None], box).copy()) for box in boxes])
        return self.noisy.crops(boxes), clean

    def loss_of(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Mean absolute error."""
        x_noisy, clean = batch
        return (self(x_noisy).float() - clean).abs().mean()


class Unbounded(RecorruptedStage):
    """The level as it is given."""

    push = 0.0


class Single(RecorruptedStage):
    """One noise for each crop."""

    def batch_at(self, step: int, generator: torch.Generator) -> Batch:
        """Crops and their noises, as many as batch."""
        boxes = draw_boxes(self.noisy.shapes, self.seed, step, self.settings.batch, self.settings.crop)
        z = [self.drawer.draw(box, generator) for box in boxes]
        return self.noisy.crops(boxes), torch.cat(z)

    def loss_of(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Mean square error."""
        x_noisy, z = batch
        given, wanted = recorrupt(x_noisy, z, self.settings.recorruption)
        scale = (z / self.settings.recorruption).square().mean()
        return ((self(given).float() - wanted) ** 2).mean() / scale


def run(lab: Lab) -> dict[str, Any]:
    """PSNR of each, in three tables."""
    losses = [{"loss": "supervised", "alpha": 0.0, **_figures(lab, Supervised, WHITE)}]
    losses += [
        {"loss": name, "alpha": alpha, **_figures(lab, kind, WHITE, alpha)}
        for name, kind in (("one noise", Single), ("symmetric pair", RecorruptedStage))
        for alpha in ALPHAS
    ]
    levels = [
        {"factor": factor, "bounded": _figures(lab, RecorruptedStage, WHITE, factor=factor)}
        | {"as given": _figures(lab, Unbounded, WHITE, factor=factor)}
        for factor in FACTORS
    ]
    others = {
        "1.2 px, noisy": {"psnr": CORRELATED.psnr(CORRELATED.noisy[1])},
        "1.2 px, supervised": _figures(lab, Supervised, CORRELATED),
        "1.2 px, kernel told": _figures(lab, RecorruptedStage, CORRELATED, width=CORRELATED.width),
        "1.2 px, taken for white": _figures(lab, RecorruptedStage, CORRELATED),
        "growing, noisy": {"psnr": RAMPED.psnr(RAMPED.noisy[1])},
        "growing, supervised": _figures(lab, Supervised, RAMPED),
        "growing, level as given": _figures(lab, Unbounded, RAMPED),
        "growing, bounded": _figures(lab, RecorruptedStage, RAMPED),
    }
    return {"noisy": WHITE.psnr(WHITE.noisy[1]), "losses": losses, "levels": levels, "others": others}


def _figures(
    lab: Lab, kind: type[Stage], task: Task, alpha: float = ALPHAS[0], factor: float = 1.0, width: float = 0.0
) -> dict[str, Any]:
    settings: StudentSettings = lab.settings("student", recorruption=alpha)
    level = NoiseLevel((0.0,), (factor * task.sigma / 255,), texture=smoothed(width))
    of = (kind.__name__, task.name, settings.model_dump(), factor, width)
    measure = lambda: {"psnr": task.psnr(denoised(lab, kind, task, settings, level, key_of(*of)))}  # noqa: E731
    return lab.cell(f"alone-{kind.__name__}", measure, *of)


def denoised(lab: Lab, kind: type[Stage], task: Task, settings: StudentSettings, level: NoiseLevel, key: str) -> Tensor:
    """The test slices, (N, 1, H, W), by a student trained now; level: of the noise, as it is told."""
    noisy = lab.noisy(task)
    settings = settings.model_copy(update={"recorruption": settings.recorruption or ALPHAS[0]})
    torch.manual_seed(task.seed + 2)
    known = (task,) if issubclass(kind, Supervised) else ([level], task.seed)
    stage: Any = kind(settings, noisy, *known)  # type: ignore[arg-type]
    name = f"{kind.__name__}, alpha {settings.recorruption:g}, level {255 * level.typical:.3g}/255"
    train(stage, name, lab.folder / f"alone-{key}", lab.device, say)
    return apply_student(stage.network.to(lab.device), torch.from_numpy(task.noisy[1])[:, None].to(lab.device))


def tables(result: dict[str, Any]) -> str:
    """Losses, levels, correlated noise."""
    alpha = lambda row: f"{row['alpha']:g}" if row["alpha"] else "–"  # noqa: E731
    losses = [[row["loss"], alpha(row), f"{row['psnr']:.2f}"] for row in result["losses"]]
    levels = [
        [f"{row['factor']:g}", *(f"{row[name]['psnr']:.2f}" for name in ("as given", "bounded"))]
        for row in result["levels"]
    ]
    others = [[name, f"{result['others'][name]['psnr']:.2f}"] for name in OTHERS]
    return "\n\n".join(
        (
            f"Noisy: {result['noisy']:.2f} dB.",
            markdown(["learns from", "alpha", "PSNR"], losses),
            markdown(["level, of the true one", "as given", "bounded"], levels),
            markdown(["noise", "PSNR"], others),
        )
    )


def plot(result: dict[str, Any], path: Path) -> None:
    """PSNR over the level."""
    with panels(path, width=5.0) as axis:
        for name in ("as given", "bounded"):
            axis.plot(FACTORS, [row[name]["psnr"] for row in result["levels"]], "o-", label=name)
        axis.axhline(result["losses"][0]["psnr"], color="0.6", linestyle="--", label="supervised")
        axis.set(xlabel="noise level, of the true one", ylabel="PSNR, dB")
        axis.legend()
