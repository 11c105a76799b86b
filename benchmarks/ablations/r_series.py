"""Study r: a series of frames, denoised as its principal components."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from benchmarks.ablations.fits import without_teacher
from benchmarks.ablations.lab import SHARED, Lab, slices_of
from benchmarks.writing import markdown, panels
from diffdenoise.inference import denoise_slices
from diffdenoise.noise.models import correlated, gaussian, rician
from diffdenoise.quality.reference import foreground, psnr

TITLE = "A series of frames, denoised as its principal components"
QUESTION = """Frames of the same places, as diffusion and functional MR take them: simulated on Colin27, whose truth is
known, fitted on one block of slices and tested on another 10 mm above, with changes in time of its own. *Diffusion*: 3
frames without and 14 with weighting, each along another direction, from a field of tensors. *Functional*: 24 frames; a
drift, a pulsation of 1 % and blobs that are 3 % brighter in every second block of four frames (the activation). *Each
frame alone*: the default preset as it was. *With neighbours*: and the slices above and below. *Components*: what a fit
does now. *MP-PCA* (Veraart et al. 2016, DIPY, radius 2) learns nothing, it is given the test series alone. PSNR in dB
inside the head over all frames, data range 1. *Change kept*: slope of the denoised frames less their mean on the true
ones, 1 where nothing is lost; *error of change*: what their difference to the true change is, of the change's own
standard deviation. *Activation kept*: the same slope for the fitted contrast of the blocks, where there are blobs; *its
error* beside them, in per cent of the brightness. *Seconds*: to denoise the test series, on one core; what learns has
learned for 1000 steps before. Then how many frames it takes. Then a scanner's own series: two frames without weighting
and 12 with, fitted on as they are; the mean of three further frames without weighting, which no method sees, is the
reference for the first two."""
FINDING = """The components are 4.6 to 5.0 dB above a frame alone where the change is diffusion's, and 9.1 to 9.7 where
it is a few per cent. They are above MP-PCA in every row, though they have learned on another part of the head whose
changes are others: by 0.8 to 2.9 dB on white noise, 4.9 on Rician noise, whose floor it leaves, and 8.3 on noise that
is correlated between pixels, which it takes for signal. The price is in the columns of change: what frames alone keep
entirely (under an error of 2.3 to 3.6 times its size), the components shrink. Of an activation of 3 % they keep 0.68 at
5/255, where MP-PCA keeps 0.77 and leaves 1.2 times the error beside it, and 0.93 at 2.5/255, where it keeps 0.78. (By
hand, 1500 steps at 5/255: 0.71, and the error 0.23 %.) Neighbouring slices beside the components bring 0.1 dB where
noise is white and 0.8 where it is correlated, and take 0.2 to 0.3 where the change is weak, whose error grows by a
quarter: a fit leaves them out. Three frames are enough to gain 3 dB. On the scanner's own series the reference is of
other moments, so what a head and its vessels did meanwhile counts as error, and it is most of it: no method gains much,
the components most."""
SEED = 0
BLOCKS = {"train": (60, 1), "test": (112, 2)}  # first slice, seed of what changes in time
SLICES = {"colin27": 16, "mni152": 2}
WAYS: dict[str, dict[str, Any]] = {
    "each frame alone": {"neighbours": 0, "series": False},
    "with neighbours": {"neighbours": 1, "series": False},
    "components": {"neighbours": 0, "series": True},
    "components, with neighbours": {"neighbours": 1, "series": True},
}
COUNTS = (3, 6, 12)


@dataclass(frozen=True)
class Case:
    """A simulated series: what makes the frames (T, slices, rows, columns) of a block, and the noise."""

    name: str
    frames: Callable[[np.ndarray, int], np.ndarray]
    noise: Callable[..., torch.Tensor]

    def block(self, subject: str, which: str) -> tuple[np.ndarray, np.ndarray]:
        """The truth and the noisy series."""
        first, seed = BLOCKS[which]
        clean = self.frames(slices_of(subject, first, SLICES[subject]), seed)
        generator = torch.Generator().manual_seed(SEED + seed)
        return clean, self.noise(torch.from_numpy(clean), generator=generator).numpy()


def diffusion(anatomy: np.ndarray, seed: int) -> np.ndarray:
    """Weighted by exp(-g' D g), D a smooth field of tensors: isotropic in dark tissue, along one way in bright."""
    random = np.random.default_rng(seed)
    smooth = lambda: gaussian_filter(random.standard_normal(anatomy.shape), (3, 12, 12))  # noqa: E731
    along = np.stack([smooth() for _ in range(3)])
    along /= np.linalg.norm(along, axis=0)
    directions = random.standard_normal((14, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    bright = np.clip((gaussian_filter(anatomy, (0, 1, 1)) - 0.35) / 0.3, 0, 1)
    fields = [np.ones_like(anatomy)] * 3
    for direction in directions:
        cosine = np.tensordot(direction, along, 1)
        fields.append(np.exp(-(0.9 * (1 - bright) + bright * (0.3 + 1.2 * cosine**2))))
    return (anatomy * np.stack(fields)).astype(np.float32)


def functional(anatomy: np.ndarray, seed: int, frames: int = 24) -> np.ndarray:
    """A drift, a pulsation, and the activation."""
    random = np.random.default_rng(seed)
    t = np.arange(frames)
    field = gaussian_filter(random.standard_normal(anatomy.shape), (2, 10, 10))
    pulsation = 0.01 * field / field.std() * np.sin(2 * np.pi * (0.31 * t + random.random()))[:, None, None, None]
    drift = 0.005 * (t / frames)[:, None, None, None]
    change = 0.03 * activation(anatomy, seed) * task(frames)[:, None, None, None]
    return (anatomy * (1 + drift + pulsation + change)).astype(np.float32)


def activation(anatomy: np.ndarray, seed: int) -> np.ndarray:
    """Blobs of about 8 pixels, 0 to 1."""
    random, found = np.random.default_rng(seed + 100), np.zeros(anatomy.shape)
    for place in random.permutation(np.argwhere(anatomy > 0.35))[:8]:
        far = [(axis - at) ** 2 for axis, at in zip(np.indices(anatomy.shape), place, strict=True)]
        found = np.maximum(found, np.exp(-far[0] / 8 - (far[1] + far[2]) / 32))
    return found


def task(frames: int) -> np.ndarray:
    """1 in every second block of four frames."""
    return (np.arange(frames) // 4 % 2).astype(float)


CASES = (
    Case("diffusion, 10/255", diffusion, partial(gaussian, sigma=10 / 255)),
    Case("diffusion, 10/255, Rician", diffusion, partial(rician, sigma=10 / 255)),
    Case("diffusion, 10/255, correlated 0.8 px", diffusion, partial(correlated, sigma=10 / 255, width_px=0.8)),
    Case("functional, 5/255", functional, partial(gaussian, sigma=5 / 255)),
    Case("functional, 2.5/255", functional, partial(gaussian, sigma=2.5 / 255)),
)


def run(lab: Lab) -> dict[str, Any]:
    """The simulated series; one with fewer frames; the real one."""
    small = lab.size.name == "smoke"
    cases = CASES[3:4] if small else CASES
    rows = [{"case": case.name, **row} for case in cases for row in _compared(lab, case)]
    counts = [{"frames": count, **_by_count(lab, count)} for count in (COUNTS[:1] if small else COUNTS)]
    return {"rows": rows, "counts": counts, "real": [] if small else _real(lab)}


def _compared(lab: Lab, case: Case) -> list[dict[str, Any]]:
    rows = [
        {"way": way, **lab.cell(f"{case.name}-{way}", partial(_measure, lab, case, way), case.name)} for way in WAYS
    ]
    others = {"noisy": lambda noisy: noisy, "MP-PCA": mp_pca}
    for way, denoise in others.items() if lab.size.name != "smoke" else ():
        rows.append({"way": way, **lab.cell(f"{case.name}-{way}", partial(_score, lab, case, denoise), case.name)})
    return rows


def _measure(lab: Lab, case: Case, way: str) -> dict[str, float]:
    return _score(lab, case, _denoiser(lab, {case.name: case.block(_subject(lab), "train")[1]}, WAYS[way]))


def _denoiser(lab: Lab, scans: dict[str, np.ndarray], student: dict[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    model = without_teacher(lab, scans, {"student": student})

    def denoise(series: np.ndarray) -> np.ndarray:
        flat = series.reshape(-1, *series.shape[2:])
        return denoise_slices(model, flat, device=lab.device, frames=len(series)).pixels.reshape(series.shape)

    return denoise


def mp_pca(series: np.ndarray) -> np.ndarray:
    """DIPY's, of frames (T, slices, rows, columns)."""
    from dipy.denoise.localpca import mppca

    return np.moveaxis(mppca(np.moveaxis(series, 0, -1), patch_radius=2), -1, 0)


def _score(lab: Lab, case: Case, denoise: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
    subject = _subject(lab)
    clean, noisy = case.block(subject, "test")
    started = time.perf_counter()
    result = denoise(noisy)
    seconds = time.perf_counter() - started
    inside = foreground(clean[0])
    change, true = (of[:, inside] - of[:, inside].mean(0) for of in (result, clean))
    figures = {
        "psnr": psnr(result[:, inside], clean[:, inside], 1.0),
        "kept": float(np.vdot(change, true) / np.vdot(true, true)),
        "change": float((change - true).std() / true.std()),
        "seconds": seconds,
    }
    if case.frames is not functional:
        return figures
    blobs = activation(slices_of(subject, BLOCKS["test"][0], SLICES[subject]), BLOCKS["test"][1])
    found, wanted = (contrast(of) / np.maximum(clean.mean(0), 0.1) for of in (result, clean))
    strong, beside = inside & (blobs > 0.3), inside & (blobs < 0.01)
    return figures | {
        "activation": float(np.vdot(found[strong], wanted[strong]) / np.vdot(wanted[strong], wanted[strong])),
        "beside": float(100 * np.sqrt(np.mean((found[beside] - wanted[beside]) ** 2))),
    }


def contrast(frames: np.ndarray) -> np.ndarray:
    """How much brighter each place is while active, the drift fitted beside it (least squares)."""
    t = np.arange(len(frames))
    design = np.stack([task(len(frames)), np.ones(len(t)), t / len(t)], axis=1)
    return np.tensordot(np.linalg.pinv(design)[0], frames, 1)


def _by_count(lab: Lab, count: int) -> dict[str, float]:
    """PSNR of the first frames of the functional series, denoised alone and as components."""
    case = Case(f"functional of {count}", partial(functional, frames=count), partial(gaussian, sigma=5 / 255))
    names = ("each frame alone", "components")
    return {way: lab.cell(f"{case.name}-{way}", partial(_measure, lab, case, way), case.name)["psnr"] for way in names}


def _real(lab: Lab) -> list[dict[str, Any]]:
    import nibabel

    file = SHARED / "mri_philips_dwi" / "dwi_17vol.nii.gz"
    series = np.asarray(nibabel.load(file).dataobj, dtype=np.float32).transpose(3, 2, 1, 0)
    reference, given = series[2:5].mean(0), np.ascontiguousarray(np.concatenate([series[:2], series[5:]]))
    inside, top = foreground(reference), float(np.quantile(reference, 0.999))
    ways = {"noisy": lambda noisy: noisy, "MP-PCA": mp_pca} | {
        way: partial(lambda student, noisy: _denoiser(lab, {"dwi": noisy}, student)(noisy), student)
        for way, student in WAYS.items()
    }

    def measure(denoise: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
        result = denoise(given)
        return {f"frame {n}": psnr(result[n][inside], reference[inside], top) for n in range(2)}

    return [{"way": way, **lab.cell(f"real-{way}", partial(measure, of), "real")} for way, of in ways.items()]


def _subject(lab: Lab) -> str:
    return "mni152" if lab.size.name == "smoke" else "colin27"


def tables(result: dict[str, Any]) -> str:
    """The simulated series; the count of frames; the real one."""
    figure = lambda row, key, digits: f"{row[key]:.{digits}f}" if key in row else ""  # noqa: E731
    keys = {"psnr": 2, "kept": 3, "change": 3, "activation": 2, "beside": 2, "seconds": 0}
    simulated = [
        [row["case"], row["way"], *(figure(row, key, digits) for key, digits in keys.items())] for row in result["rows"]
    ]
    heads = ["series", "", "PSNR", "change kept", "error of change", "activation kept", "its error, %", "seconds"]
    counts = [
        [str(row["frames"]), *(f"{row[way]:.2f}" for way in ("each frame alone", "components"))]
        for row in result["counts"]
    ]
    real = [[row["way"], *(f"{row[f'frame {n}']:.2f}" for n in range(2))] for row in result["real"]]
    return "\n\n".join(
        [
            markdown(heads, simulated),
            markdown(["frames", "each frame alone", "components"], counts),
            markdown(["a scanner's own, b = 0", "first frame", "second frame"], real),
        ]
    )


def plot(result: dict[str, Any], path: Path) -> None:
    """PSNR of each way."""
    cases = list(dict.fromkeys(row["case"] for row in result["rows"]))
    ways = sorted(dict.fromkeys(row["way"] for row in result["rows"]), key=lambda way: way != "noisy")
    with panels(path, width=8) as axis:
        for number, way in enumerate(ways):
            values = [
                row["psnr"] for case in cases for row in result["rows"] if (row["case"], row["way"]) == (case, way)
            ]
            axis.bar(np.arange(len(cases)) + 0.13 * number, values, 0.13, label=way)
        axis.set_xticks(np.arange(len(cases)) + 0.3, [case.replace(", ", "\n") for case in cases], fontsize=8)
        axis.set_ylim(bottom=25)
        axis.set_ylabel("PSNR, dB")
        axis.legend(fontsize=7)
