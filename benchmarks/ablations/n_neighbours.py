"""Study n: what neighbouring slices bring where the noise is a scanner's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.ablations.fits import without_teacher
from benchmarks.ablations.lab import SHARED, Lab, Task
from benchmarks.writing import markdown, panels
from diffdenoise.domain import Domain
from diffdenoise.inference import domain_of, seen_by_student
from diffdenoise.model import Model
from diffdenoise.noise.across import neighbours_help
from diffdenoise.noise.recorruption import alive, brightness, draw_like, recorrupt
from diffdenoise.noise.repetition import own_noise
from diffdenoise.quality.reference import foreground
from diffdenoise.rounds import image_seed
from diffdenoise.tiling import tiled
from diffdenoise.training.student import offsets

TITLE = "Neighbouring slices, where the noise is a scanner's own"
QUESTION = """The default preset, fitted on scans as they came from the scanner, with the slices above and below and
without them; tested on other slices of the head, or on other volumes of the series. There is no clean reference. The
error is that of `(x_noisy + z) -> x`, noise twice as strong in variance as the scan's, z drawn like the noise that was
measured: its mean square is the mean of (f(x_noisy + z) - (x_noisy - z))^2 less twice the noise's variance, for what
is compared with has noise of its own (alpha = 1 in `noise/recorruption.py`). A level that is wrong moves both columns
alike, and the difference hardly. *Noise shared* is the correlation of the noise of neighbouring slices, as
`noise/across.py` sees it: where there is some, noise can be told from a neighbour, which lowers this measure and not
the error. Errors as a share of that noise, 2 sigma^2; intervals are 95 %, bootstrapped over slices."""
FINDING = """In the diffusion volumes the noise of a slice is its own, but for 0.10, and the neighbours take a quarter
of the error away (0.44 to 0.32 of the noise, 1.4 dB; of that the shared noise can explain 0.01). In the T1 of 3 T and
the low-field scan the noise of neighbours correlates, by 0.36 and 0.62: they were interpolated (by hand: 0.3 to 0.5 in
the corners of the low-field scans, where there is no tissue, and 0.4 to 0.5 in flat boxes of the T1 along all three
axes). There a fit sees single slices, and is right to: what the table gains with neighbours is their knowledge of the
noise, which would stay in the result. Two neighbours whose noise correlates by 0.36 tell 2 x 0.36^2 = 0.26 of a
slice's, which is 0.13 in this unit; 0.12 is seen."""
ALPHA = 1.0
WAYS = {"without": 0, "with": 1}
RESAMPLED = 2000

Blocks = tuple[dict[str, np.ndarray], np.ndarray]  # to train on, by name; to test on, (slices, rows, columns)


@dataclass(frozen=True)
class Case:
    """What is trained and tested on."""

    name: str
    blocks: Callable[[], Blocks]


def _t1() -> Blocks:
    volume = _load("mri_studyforrest_T1/sub-02_T1w.nii.gz")[0]
    return {"T1": volume[200:250].copy()}, volume[270:300].copy()


def _weighted() -> Blocks:
    series = _load("mri_philips_dwi/dwi_17vol.nii.gz")[5:]
    return {f"direction {n}": volume for n, volume in enumerate(series[:8])}, series[8]


def _low_field() -> Blocks:
    a, b, c = (_load(f"mri_ulf_055T/subjects_055T/sub-{who}_T2w_FSE.nii.gz")[0] for who in ("6A", "6B", "7A"))
    return {"6A": a, "6B": b}, c


def _simulated() -> Blocks:
    train, test = Task(sigma=10).noisy
    return {"MNI152": train}, test


CASES = (
    Case("T1, 3 T, thin slices", _t1),
    Case("diffusion, b = 1000", _weighted),
    Case("T2, 0.055 T, thick slices", _low_field),
)
SMALL = (Case("MNI152, 10/255", _simulated),)


def run(lab: Lab) -> dict[str, Any]:
    """A row a scan."""
    rows = []
    for case in SMALL if lab.size.name == "smoke" else CASES:
        figures = lab.cell(f"beside-{case.name}", partial(measure, lab, case), case.name)
        rows.append({"case": case.name} | figures | lab.cell(f"own-{case.name}", partial(shared, case), case.name))
    return {"rows": rows}


def measure(lab: Lab, case: Case) -> dict[str, Any]:
    """Each way's error, and the difference with its interval."""
    train, test = case.blocks()
    risks = {}
    for way, neighbours in WAYS.items():
        model = without_teacher(lab, train, {"student": {"neighbours": neighbours}})
        risks[way] = np.array([risk(model, test, index, lab.device) for index in range(len(test))])
    change = risks["with"] - risks["without"]
    random = np.random.default_rng(0)
    means = change[random.integers(0, len(change), (RESAMPLED, len(change)))].mean(1)
    return {way: float(of.mean()) for way, of in risks.items()} | {
        "change": float(change.mean()),
        "interval": [float(end) for end in np.quantile(means, (0.025, 0.975))],
    }


def shared(case: Case) -> dict[str, Any]:
    """How far the noise of neighbouring slices correlates, and what a fit would choose."""
    volumes = list(case.blocks()[0].values())
    own = np.median([ratio for volume in volumes for ratio in own_noise(volume[:-1], volume[1:])])
    return {
        "correlation": float((1 - own**2) / (1 + own**2)),
        "chosen": bool(sum(map(neighbours_help, volumes)) > len(volumes) / 2),
    }


def risk(model: Model, volume: np.ndarray, index: int, device: str) -> float:
    """The error of a slice that was made noisier, as a share of its noise's variance."""
    domain = domain_of(model, volume)
    inside = foreground(volume[index])
    image, z = _noise(domain, volume[index])
    given, wanted = recorrupt(image, z, ALPHA)
    noisier = volume.copy()
    noisier[index] = domain.back(given[0, 0].numpy())  # the neighbours stay as they are
    seen, _ = seen_by_student(domain, noisier, index, offsets(model.config.student.neighbours or 0))
    with torch.no_grad():
        result = tiled(model.student, seen.to(device)).float().cpu()
    own = 2 * (z**2)[0, 0].numpy()[inside].mean()
    return float(((result - wanted) ** 2)[0, 0].numpy()[inside].mean() / own - 1)


def _noise(domain: Domain, pixels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """A slice as the student sees it, and noise like its own, each (1, 1, H, W)."""
    image = torch.from_numpy(domain.into(pixels))[None, None]
    variance = domain.level.variance_of(image.numpy(), brightness(image).numpy())
    generator = torch.Generator().manual_seed(image_seed(0, pixels))
    return image, alive(image) * draw_like(torch.from_numpy(variance).sqrt(), domain.level.texture, generator)


def _load(name: str) -> np.ndarray:
    """(volumes, slices, rows, columns), float32."""
    import nibabel

    pixels = np.asarray(nibabel.load(SHARED / name).dataobj, dtype=np.float32)
    return np.ascontiguousarray(pixels.reshape(*pixels.shape[:3], -1).transpose(3, 2, 1, 0))


def tables(result: dict[str, Any]) -> str:
    """One table."""
    body = [
        [
            row["case"],
            *(f"{row[way]:.3f}" for way in WAYS),
            f"{row['change']:+.3f} ({row['interval'][0]:+.3f}, {row['interval'][1]:+.3f})",
            f"{row['correlation']:.2f}",
            "with" if row["chosen"] else "without",
        ]
        for row in result["rows"]
    ]
    return markdown(["scan", *(f"error {way}" for way in WAYS), "change", "noise shared", "a fit chooses"], body)


def plot(result: dict[str, Any], path: Path) -> None:
    """The errors side by side."""
    rows = result["rows"]
    with panels(path, width=6) as axis:
        for number, way in enumerate(WAYS):
            axis.bar(np.arange(len(rows)) + 0.3 * number, [row[way] for row in rows], 0.3, label=f"{way} neighbours")
        axis.set_xticks(np.arange(len(rows)) + 0.15, [row["case"] for row in rows])
        axis.set_ylabel("error / noise")
        axis.legend()
