"""Study l: recorruption where the noise is not Gaussian."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from benchmarks.ablations.i_kinds import KindTask
from benchmarks.ablations.k_recorruption import Supervised, denoised
from benchmarks.ablations.lab import Lab, Task, as_array
from benchmarks.noises import NOISES
from benchmarks.writing import markdown, panels
from diffdenoise.config import StudentSettings
from diffdenoise.diagnosis import diagnose
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.noise.floor import inverse_of
from diffdenoise.noise.recorruption import brightness, draw_like
from diffdenoise.quality.reference import psnr
from diffdenoise.run_folder import key_of
from diffdenoise.training.drawn import Drawer
from diffdenoise.training.recorrupted import RecorruptedStage
from diffdenoise.training.slices import Box
from diffdenoise.training.stage import Batch, Stage

TITLE = "A student without a teacher, where the noise is skewed"
QUESTION = """Recorruption is exact for Gaussian noise. Rician, multiplicative and counting noise are skewed: a student
that is drawn Gaussian noise of the right level at each brightness can take a parabola of the noise for signal (for the
Rayleigh noise of a dark background, theory says 0.42 of its standard deviation). *Its skewness* draws z with the
variance that each noisy pixel shows for itself by three moments of the noise, *its kind* by four, where the fourth is
another than that of Gamma noise (`NoiseLevel.variance_of`). *Floor off*: and takes the bias of Rician noise off the
result, as `denoise` does (`noise/floor.py`). Kind and level are as a fit finds them in the noisy slices. PSNR in the
head and in the whole image; *background* is the standard deviation, in units of 1/255, of the result where there is
nothing.

Below, Rician noise that is correlated, for k-space was filled with zeros (15/255, Colin27), with longer training. z of
the channels' *texture* and of the magnitudes' variance; z of the *covariance* that magnitudes have, whose share that
correlates as in an empty place grows in the dark; and z by *phases* that go with the magnitudes (`noise/phases.py`), as
a fit draws it. PSNR there is against the mean magnitude, for the floor is another matter."""
FINDING = """Skewness matters as much as theory says. Multiplicative noise of 30 looks costs 1.6 dB if z is Gaussian
noise of its level, and counting noise of 100 counts 0.1 dB; in the Rayleigh noise of a dark background 6.4/255 is
left, about as predicted (0.42 of 16.4), and 2.7 with z of its skewness. Its fourth moment adds nothing here; in
stronger noise it does (docs/method.md, section 9). What is then left to the supervised student is 0.2 dB for counting
noise and 0.4 dB for multiplicative noise, as for Gaussian (study k), and 0.1 dB for Rician noise, whose floor is the
largest error in the whole image: taken off, 19.5 dB become 31.6, of the 32.3 of the student that learned it. The
inverse is steep at the floor, so that it makes more of what is left in the background (2.8 becomes 4.4; 6.6 before
empty places were told by the dark around them), but about zero instead of 31/255.

Correlated magnitudes ask for more than a variance. By the channels' texture two thirds of what the air holds stay; by
the covariance of magnitudes a third, and 0.23 dB more in the head; by phases that go with the magnitudes a quarter, and
0.09 dB more again (all from random weights; from ours, with more to learn by seeing where magnitudes vanish, it is 0.3
dB: docs/method.md, section 9). What is left to the supervised student is 0.36 dB."""
KINDS = ("poisson, 100 counts", "gamma, 30 looks", "rician 25/255")
WAYS = ("noisy", "supervised", "level alone", "its skewness", "its kind", "floor off")
OF_RICIAN = ("its skewness", "floor off")  # of the others the fourth moment follows from the third
FIGURES = ("psnr", "whole", "background")
NOTHING = 0.02  # brightness
CORRELATED = NOISES["zero-filled-rician-15"]
DRAWN = ("noisy", "supervised", "texture", "covariance", "phases")
LONGER = {"cpu": {"steps": 2000}}


@dataclass(frozen=True)
class ZeroFilled(Task):
    """Magnitudes of complex images whose k-space was filled with zeros."""

    @property
    def name(self) -> str:
        """For file names."""
        return f"{super().name}-zero-filled-rician"

    def _add(self, clean: np.ndarray, generator: Generator) -> np.ndarray:
        return CORRELATED.add(clean, int(torch.randint(2**31, (1,), generator=generator)))


class OfMean(Supervised):
    """Mean square error against mean magnitudes."""

    def __init__(self, *known: Any) -> None:
        super().__init__(*known)
        self.clean = CORRELATED.mean(self.clean)

    def loss_of(self, batch: Batch, generator: Generator) -> Tensor:
        """As the others' is."""
        x_noisy, mean = batch
        return (self(x_noisy).float() - mean).square().mean()


class _ByCovariance(Drawer):
    """Without knowing where the magnitudes vanish."""

    def draw(self, box: Box, generator: Generator) -> Tensor:
        """(1, 1, side, side); the texture is alike both ways."""
        level, around = self.levels[box.scan], brightness(self.noisy.crops([box])).numpy()
        deviation, dark = (torch.from_numpy(f(around)) for f in (lambda b: level.variance(b) ** 0.5, level.dark_at))
        return draw_like(deviation, level.texture, generator, dark)


class ByCovariance(RecorruptedStage):
    """z has the covariance of magnitudes."""

    def __init__(self, settings: StudentSettings, noisy: Any, levels: list[NoiseLevel], seed: int) -> None:
        super().__init__(settings, noisy, levels, seed)
        self.drawer = _ByCovariance(noisy, levels, seed)


def run(lab: Lab) -> dict[str, Any]:
    """A row for each kind of noise and way."""
    rows = []
    for kind in KINDS:
        for way in (way for way in WAYS if kind.startswith("rician") or way not in OF_RICIAN):
            row = lab.cell(f"skewed-{kind}-{way}", partial(measure, lab, kind, way), kind, way)
            rows.append({"kind": kind, "way": way} | row)
    drawn = [
        {"way": way} | lab.cell(f"magnitudes-{way}", partial(of_magnitudes, lab, way), way, asdict(CORRELATED))
        for way in DRAWN
    ]
    return {"rows": rows, "magnitudes": drawn}


def measure(lab: Lab, kind: str, way: str) -> dict[str, Any]:
    """PSNR in the head and of the whole image, and what is left in the background."""
    task = KindTask(kind=kind)
    image = task.noisy[1] if way == "noisy" else _student(lab, task, way)
    if way == "floor off":
        inverse = inverse_of(image, diagnose(task.noisy[1]).trend.sigma)
        image = np.stack([inverse(one) for one in image])
    return _figures(task, image, task.clean)


def of_magnitudes(lab: Lab, way: str) -> dict[str, Any]:
    """The same, against the mean magnitude."""
    task = ZeroFilled("colin27", sigma=255 * CORRELATED.strength)
    image = task.noisy[1] if way == "noisy" else _student_of_magnitudes(lab, task, way)
    return _figures(task, image, CORRELATED.mean(task.clean))


def _figures(task: Task, image: np.ndarray, wanted: np.ndarray) -> dict[str, Any]:
    left = image[(task.clean < NOTHING) & ~task.mask]
    head, whole = psnr(image, wanted, 1.0, task.mask), psnr(image, wanted, 1.0)
    return {"psnr": head, "whole": whole, "background": 255 * float(left.std())}


def _student(lab: Lab, task: Task, way: str) -> np.ndarray:
    found = diagnose(task.noisy[0]).level
    left_out = {"level alone": ("skewness", "excess"), "its skewness": ("excess",)}.get(way, ())
    stage = Supervised if way == "supervised" else RecorruptedStage
    return _trained(lab, stage, task, replace(found, **dict.fromkeys(left_out, ())))


def _student_of_magnitudes(lab: Lab, task: Task, way: str) -> np.ndarray:
    found = diagnose(task.noisy[0]).level
    stage = {"supervised": OfMean, "covariance": ByCovariance}.get(way, RecorruptedStage)
    level = replace(found, dark=()) if way == "texture" else found
    return _trained(lab, stage, task, level, **LONGER.get(lab.size.name, {}))


def _trained(lab: Lab, stage: type[Stage], task: Task, level: NoiseLevel, **changes: Any) -> np.ndarray:
    settings: StudentSettings = lab.settings("student", recorruption=0.2, **changes)
    key = key_of(stage.__name__, task.name, settings.model_dump(), asdict(level))
    return as_array(denoised(lab, stage, task, settings, level, key))


def tables(result: dict[str, Any]) -> str:
    """By kind; by how z is drawn like magnitudes."""
    body = [[row["kind"], row["way"], *(f"{row[name]:.2f}" for name in FIGURES)] for row in result["rows"]]
    drawn = [[row["way"], *(f"{row[name]:.2f}" for name in FIGURES)] for row in result["magnitudes"]]
    names = ["PSNR", "PSNR, whole image", "background"]
    return f"{markdown(['noise', 'student', *names], body)}\n\n{markdown(['student, z by', *names], drawn)}"


def plot(result: dict[str, Any], path: Path) -> None:
    """How far below the supervised student."""
    bound = {row["kind"]: row["psnr"] for row in result["rows"] if row["way"] == "supervised"}
    with panels(path, width=6) as axis:
        for number, way in enumerate(WAYS[2:]):
            rows = [row for row in result["rows"] if row["way"] == way]
            places = [KINDS.index(row["kind"]) + 0.25 * (number - 1) for row in rows]
            axis.bar(places, [row["psnr"] - bound[row["kind"]] for row in rows], 0.25, label=way)
        axis.set_xticks(range(len(KINDS)), [kind.split()[0].strip(",") for kind in KINDS])
        axis.axhline(0, color="0.6", linewidth=0.8)
        axis.set_ylabel("PSNR over supervised, dB")
        axis.legend()
