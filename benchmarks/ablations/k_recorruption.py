"""Study k: a student that learns from the noisy images alone, without a teacher."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.ablations.lab import TRAIN, Lab, Task, apply_student, slices_of
from benchmarks.writing import markdown, panels
from diffdenoise.config import StudentSettings
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.noise.recorruption import recorrupt
from diffdenoise.run_folder import key_of
from diffdenoise.training.recorrupted import RecorruptedStage
from diffdenoise.training.slices import SliceStore, cut, draw_boxes
from diffdenoise.training.stage import Stage, train
from diffdenoise.training.student import make_student

TITLE = "A student without a teacher"
QUESTION = """The student network, with the same crops, optimiser and number of steps, learns from clean images (the
bound), or from the noisy images alone by recorruption: with one noise z for each crop or a symmetric pair +z and -z
(half as many crops then, so that a step costs the same), for three alpha. Then with a wrong noise level, as it is and
with the level held down where the student turns the noise upside down (`training/recorrupted.py`). *Share*: what the
bound left of the level that was given. Last, noise correlated by a kernel of 1.2 px, told, and taken for white."""
FINDING = ""
ALPHAS = (0.2, 0.5, 1.0)
FACTORS = (0.77, 0.9, 1.0, 1.1, 1.3, 2.0)
WHITE, CORRELATED = Task(), Task(width=1.2)


class Supervised(Stage):
    """L1 against the clean crops."""

    settings: StudentSettings

    def __init__(self, settings: StudentSettings, noisy: SliceStore, task: Task) -> None:
        super().__init__(make_student(settings), settings, task.seed)
        self.noisy, self.clean = noisy, slices_of(task.subject, **TRAIN)

    def loss_at(self, step: int, generator: torch.Generator) -> Tensor:
        """Mean absolute error."""
        boxes = draw_boxes(self.noisy.shapes, self.seed, step, self.settings.batch, self.settings.crop)
        clean = torch.stack([torch.from_numpy(cut(self.clean[box.slice][None], box).copy()) for box in boxes])
        return (self.network(self.place(self.noisy.crops(boxes))).float() - self.place(clean)).abs().mean()


class Unbounded(RecorruptedStage):
    """The level as it is given."""

    def _weaken(self, shown: Tensor) -> None:
        pass


class Single(RecorruptedStage):
    """One noise for each crop."""

    def loss_at(self, step: int, generator: torch.Generator) -> Tensor:
        """Mean square error."""
        boxes = draw_boxes(self.noisy.shapes, self.seed, step, self.settings.batch, self.settings.crop)
        crops = self.noisy.crops(boxes)
        z = torch.cat([self._noise(crop[None], box.scan, generator) for crop, box in zip(crops, boxes, strict=True)])
        given, wanted = recorrupt(crops, z, self.settings.recorruption)
        scale = (z / self.settings.recorruption).square().mean()
        return ((self.network(self.place(given)).float() - self.place(wanted)) ** 2).mean() / scale.to(self.device)


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
    correlated = {
        "noisy": {"psnr": CORRELATED.psnr(CORRELATED.noisy[1])},
        "supervised": _figures(lab, Supervised, CORRELATED),
        "kernel told": _figures(lab, RecorruptedStage, CORRELATED, width=CORRELATED.width),
        "taken for white": _figures(lab, RecorruptedStage, CORRELATED),
    }
    return {"noisy": WHITE.psnr(WHITE.noisy[1]), "losses": losses, "levels": levels, "correlated": correlated}


def _figures(
    lab: Lab, kind: type[Stage], task: Task, alpha: float = ALPHAS[0], factor: float = 1.0, width: float = 0.0
) -> dict[str, Any]:
    settings: StudentSettings = lab.settings("student", recorruption=alpha)
    level = NoiseLevel((0.0,), (factor * task.sigma / 255,), width=width)
    of = (kind.__name__, task.name, settings.model_dump(), factor, width)
    return lab.cell(f"alone-{kind.__name__}", partial(_trained, lab, kind, task, settings, level, key_of(*of)), *of)


def _trained(
    lab: Lab, kind: type[Stage], task: Task, settings: StudentSettings, level: NoiseLevel, key: str
) -> dict[str, Any]:
    noisy = lab.noisy(task)
    torch.manual_seed(task.seed + 2)
    known = (task,) if kind is Supervised else ([level], task.seed)
    stage: Any = kind(settings, noisy, *known)  # type: ignore[arg-type]
    say = lambda what, done, total: print(f"  {what}: {total} steps", flush=True) if done == total else None  # noqa: E731
    name = f"{kind.__name__}, alpha {settings.recorruption:g}, level {255 * level.typical:.3g}/255"
    train(stage, name, lab.folder / f"alone-{key}", lab.device, say)
    image = apply_student(stage.network.to(lab.device), torch.from_numpy(task.noisy[1])[:, None].to(lab.device))
    return {"psnr": task.psnr(image), "share": float(getattr(stage, "share", 1))}


def tables(result: dict[str, Any]) -> str:
    """Losses, levels, correlated noise."""
    alpha = lambda row: f"{row['alpha']:g}" if row["alpha"] else "–"  # noqa: E731
    losses = [[row["loss"], alpha(row), f"{row['psnr']:.2f}"] for row in result["losses"]]
    of = lambda row: (row["as given"]["psnr"], row["bounded"]["psnr"], row["bounded"]["share"])  # noqa: E731
    levels = [[f"{row['factor']:g}", *(f"{value:.2f}" for value in of(row))] for row in result["levels"]]
    correlated = [[name, f"{row['psnr']:.2f}"] for name, row in result["correlated"].items()]
    return "\n\n".join(
        (
            f"Noisy: {result['noisy']:.2f} dB.",
            markdown(["learns from", "alpha", "PSNR"], losses),
            markdown(["level, of the true one", "as given", "bounded", "share"], levels),
            markdown(["1.2 px", "PSNR"], correlated),
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
