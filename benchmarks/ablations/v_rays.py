"""Study v: noise of computed tomography, stronger along some directions than along others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator

from benchmarks.ablations.k_recorruption import Supervised, denoised
from benchmarks.ablations.lab import TRAIN, Lab, Task, slices_of
from benchmarks.writing import markdown, panels
from diffdenoise.diagnosis import diagnose
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.noise.rays import rays_of
from diffdenoise.quality.reference import foreground
from diffdenoise.run_folder import key_of
from diffdenoise.training.recorrupted import RecorruptedStage
from diffdenoise.training.stage import Stage

TITLE = "Noise that goes by the rays"
QUESTION = """Noise as computed tomography makes it, not by the formula in `noise/rays.py`: each slice is taken for an
object that absorbs so much a pixel where it is brightest, its parallel projections get noise whose variance grows as
exp(absorption along the ray), and filtered back-projection makes images of that (a Hann window). It is as strong as
noise of 25/255 in the head, on the mean. First k, by how much noise is stronger along one direction than along
another, found from the noise alone, from the noisy slices with a repetition, from all of them without one, and from
one slice. Then the student, supervised, and by recorruption with all else as a fit finds it and z as strong along all
directions, or by the rays with k as it is found; and the same once more with k from the noise alone."""
FINDING = ""
ABSORBED = (0.0, 0.01, 0.02)  # a pixel; water has 0.02 a millimetre
TRAINED = 0.02
SLICES = 6  # that k is found by
FOUND_IN = {"noise": "k, of the noise alone", "slices": f"of {SLICES} slices", "slice": "of one slice, on the mean"}
ALIKE, TOLD = "alike in all directions", "by the rays, k of the noise alone"
WAYS = ("noisy", "supervised", ALIKE, "by the rays, k as found", TOLD)
REVISION = 1  # of what finds k; raise it when that finds something else


@dataclass(frozen=True)
class Tomography(Task):
    """Noise of filtered back-projection of what an object leaves of the rays, `absorbed` a pixel."""

    absorbed: float = TRAINED

    @property
    def name(self) -> str:
        """For file names."""
        return f"{super().name}-rays-{self.absorbed:g}"

    @cached_property
    def noise(self) -> tuple[np.ndarray, np.ndarray]:
        """In the slices for training and for testing."""
        generator = Generator().manual_seed(self.seed)
        clean = slices_of(self.subject, **TRAIN), self.clean
        return tuple(self.sigma / 255 * projected(images, self.absorbed, generator) for images in clean)

    @cached_property
    def noisy(self) -> tuple[np.ndarray, np.ndarray]:
        """Noisy slices for training and for testing."""
        clean = slices_of(self.subject, **TRAIN), self.clean
        return tuple(image + noise for image, noise in zip(clean, self.noise, strict=True))


def projected(images: np.ndarray, absorbed: float, generator: Generator) -> np.ndarray:
    """Noise of (slices, rows, columns), float32; its root mean square in the objects is 1."""
    from skimage.transform import iradon, radon

    rows, columns = images.shape[1:]
    side = int(np.ceil(np.hypot(rows, columns)))
    top, left = (side - rows) // 2, (side - columns) // 2
    inner = np.s_[top : top + rows, left : left + columns]
    angles = np.linspace(0, 180, side, endpoint=False)
    made = np.empty_like(images)
    for image, noise in zip(images, made, strict=True):
        square = np.zeros((side, side))
        square[inner] = absorbed * image.clip(0) / images.max()
        deviation = np.exp(radon(square, angles, circle=True) / 2)  # of the logarithm of a count
        sinogram = deviation * torch.randn((side, side), generator=generator).numpy()
        noise[:] = iradon(sinogram, angles, filter_name="hann", circle=True, output_size=side)[inner]
    return made / np.sqrt(np.square(made[foreground(images)]).mean())


TASK = Tomography()


def run(lab: Lab) -> dict[str, Any]:
    """k as it is found, by what is absorbed; PSNR of the students."""
    found = [
        {"absorbed": absorbed}
        | lab.cell(f"rays-{absorbed:g}", lambda a=absorbed: _found(a), absorbed, SLICES, REVISION)
        for absorbed in ABSORBED
    ]
    return {"found": found, "students": {way: _student(lab, way) for way in WAYS}}


def _found(absorbed: float) -> dict[str, float]:
    """k of some training slices, by what it is found in."""
    clean = slices_of(TASK.subject, **TRAIN)[:: TRAIN["count"] // SLICES]
    noise = np.float32(TASK.sigma / 255) * projected(clean, absorbed, Generator().manual_seed(1))
    each = [rays_of(image[None]) for image in clean + noise]
    return {"noise": _of_noise(clean, noise), "slices": rays_of(clean + noise), "slice": float(np.mean(each))}


def _of_noise(clean: np.ndarray, noise: np.ndarray) -> float:
    """k by the noise alone, as a perfect repetition would show it."""
    return rays_of(clean + noise, clean - noise)


def _student(lab: Lab, way: str) -> dict[str, float]:
    if way == "noisy":
        return {"psnr": TASK.psnr(TASK.noisy[1])}
    kind: type[Stage] = Supervised if way == "supervised" else RecorruptedStage
    level, settings = _level(way), lab.settings("student", recorruption=0.2)
    of = (kind.__name__, TASK.name, settings.model_dump(), repr(level))
    measure = lambda: {"psnr": TASK.psnr(denoised(lab, kind, TASK, settings, level, key_of(*of)))}  # noqa: E731
    return {"rays": level.rays} | lab.cell(f"rays-{kind.__name__}", measure, *of)


def _level(way: str) -> NoiseLevel:
    """As a fit finds it in the training slices, but for k."""
    if way == ALIKE:
        return replace(_diagnosed(), rays=0.0)
    if way == TOLD:
        return replace(_diagnosed(), rays=_of_noise(slices_of(TASK.subject, **TRAIN), TASK.noise[0]))
    return _diagnosed()


@lru_cache(1)
def _diagnosed() -> NoiseLevel:
    return diagnose(TASK.noisy[0], machine="CT").level


def tables(result: dict[str, Any]) -> str:
    """k; students."""
    shown = lambda k: f"{k:.4f}" if k else "none"  # noqa: E731
    ks = [[f"{row['absorbed']:g}", *(shown(row[name]) for name in FOUND_IN)] for row in result["found"]]
    told = lambda row: shown(row["rays"]) if "rays" in row else "–"  # noqa: E731
    students = [[way, told(row), f"{row['psnr']:.2f}"] for way, row in result["students"].items()]
    students[1][1] = "–"  # a supervised student draws no noise
    return "\n\n".join(
        (markdown(["absorbed a pixel", *FOUND_IN.values()], ks), markdown(["learns from", "k", "PSNR"], students))
    )


def plot(result: dict[str, Any], path: Path) -> None:
    """PSNR of the students."""
    with panels(path, width=5.0) as axis:
        ways = WAYS[1:]
        axis.barh(ways, [result["students"][way]["psnr"] for way in ways])
        axis.set(xlabel="PSNR, dB", xlim=(result["students"][ALIKE]["psnr"] - 1, None))
        axis.invert_yaxis()
