"""`diffdenoise demo`: real anatomy, known noise, known fine detail; every stage of the method beside each other.

Train and test are different blocks of axial slices of the MNI152 T1 average. That volume is smooth, so the test
slices alone get details of 1 to 3 pixels that nothing was trained on: a denoiser that only learned smoothness would
erase them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from diffdenoise.config import Config
from diffdenoise.errors import ConfigError, RunError, reason_of
from diffdenoise.inference import denoise_slices, domain_of
from diffdenoise.model import Model
from diffdenoise.noise.models import gaussian
from diffdenoise.phantom import add_details, mni_slices
from diffdenoise.pipeline import fit
from diffdenoise.preparation import Source
from diffdenoise.quality.reference import detail_kept, foreground, psnr, ssim
from diffdenoise.quality.report import comparison_page, comparison_picture
from diffdenoise.rounds import image_seed, predict_blind, sample_slice
from diffdenoise.run_folder import key_of, write_json
from diffdenoise.scans.files import check_folder
from diffdenoise.scans.scan import Scan
from diffdenoise.training.stage import Progress

TRAIN = {"first": 40, "count": 60}  # axial slices, 1 mm apart
TEST = {"first": 110, "count": 5, "step": 4}  # 10 mm above the last training slice
TABLE, PICTURE, PAGE = "table.json", "demo.png", "demo.html"
MARKER = ".diffdenoise-demo.json"  # in the folder of a demo: a run alone may be the user's own
Images = dict[str, np.ndarray]


@dataclass(frozen=True)
class Demo:
    """What the demo made: the figures (also in `table.json`), a picture and a page."""

    figures: list[dict[str, Any]]
    table: Table
    picture: Path
    page: Path


def run_demo(output: Path, config: Config, sigma: float, device: str, budget: float | None, progress: Progress) -> Demo:
    """Fit on the noisy training block (kept in output/.diffdenoise), denoise the test block, and compare.

    sigma: noise standard deviation for images in [0, 1]; budget: seconds for the fit, or None. Raises ConfigError if
    nilearn, which brings the volume, is missing, a run or files of no demo are in the way, or sigma is no level.
    """
    if not 0 < sigma < np.inf:
        raise ConfigError(f"--sigma {255 * sigma:g}: is no noise level. Give a number above 0.")
    _refuse_foreign(output)
    noisy_block, images, without, detail = demo_images(sigma, config.seed)
    _mark(output)
    source = Source(key_of("demo", sigma, config.seed, TRAIN), lambda: Scan(noisy_block, "MNI152", "npy"))
    model = fit([source], config, output / ".diffdenoise", device, budget, progress).model
    reference = images.pop("reference")
    images["non-local means"] = non_local_means(images["noisy"], sigma)
    images.update(stages(model.to(device), images["noisy"], device))
    mask = foreground(without)
    figures = [_figures(name, image, reference, without, mask) for name, image in images.items()]
    images["reference"] = reference
    made = Demo(figures, figures_table(figures), output / PICTURE, output / PAGE)
    notes = _notes(model.config, sigma)
    write_json(output / TABLE, {"sigma": sigma, "seed": config.seed, "figures": figures, "notes": notes})
    comparison_picture(made.picture, images, index=2, focus=detail, title="diffdenoise demo")
    comparison_page(made.page, "diffdenoise demo", images, figures, notes)
    return made


def _refuse_foreign(output: Path) -> None:
    """ConfigError where the run or a file that is there was not made by a demo."""
    check_folder(output)
    if (output / MARKER).is_file():
        return
    if (output / ".diffdenoise").exists():
        raise ConfigError(f"{output}: holds a run that is no demo's. Choose another folder with -o.")
    for place in (output / name for name in (TABLE, PICTURE, PAGE)):
        if place.exists():
            raise ConfigError(f"{place}: exists already, and no demo was made here. Choose another folder with -o.")


def _mark(output: Path) -> None:
    """Say, before anything else is written, that it is a demo's: one that is stopped goes on."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / MARKER, {"what": "A diffdenoise demo was made here; the next one replaces its files."})
    except OSError as error:
        raise RunError(f"{output}: cannot be used ({reason_of(error)}). Choose another folder with -o.") from error


def demo_images(sigma: float, seed: int) -> tuple[np.ndarray, Images, np.ndarray, np.ndarray]:
    """(noisy training block, {"noisy", "reference"} of the test block, the reference without details, the details)."""
    generator = torch.Generator().manual_seed(seed)
    noisy_block = gaussian(torch.from_numpy(mni_slices(**TRAIN)), sigma, generator).numpy()
    without = mni_slices(**TEST)
    reference, detail = add_details(without, seed)
    noisy = gaussian(torch.from_numpy(reference), sigma, generator).numpy()
    return noisy_block, {"noisy": noisy, "reference": reference}, without, detail


def non_local_means(noisy: np.ndarray, sigma: float) -> np.ndarray:
    """scikit-image's non-local means (Buades et al. 2005) with the true sigma.

    The faster of its two forms, and the strength of its guide: on the demo's images the best of both, 0.6, 0.8, 1.0.
    """
    from skimage.restoration import denoise_nl_means

    options: dict[str, Any] = {"patch_size": 5, "patch_distance": 6, "h": 0.6 * sigma, "sigma": sigma}
    return np.stack([denoise_nl_means(image, fast_mode=True, **options) for image in noisy])


def stages(model: Model, noisy: np.ndarray, device: str) -> Images:
    """The result of each stage of the method that the model has, in the units of `noisy`."""
    student = {"student": denoise_slices(model, noisy, device=device).pixels}
    if model.blind_spot is None:
        return student
    domain = domain_of(model, noisy)
    x_noisy = torch.from_numpy(domain.into(noisy))[:, None].to(device)
    x_c, _ = predict_blind(model.blind_spot, x_noisy)
    seeds = [image_seed(model.config.seed, image) for image in noisy]
    sampled = sample_slice(model, x_noisy, domain.level, seeds)
    tensors = {
        "condition x_c": x_c,
        "one chain": sampled.chain,
        "x_hat (SRDS)": sampled.x_hat,
        "fused": sampled.fused,
    }
    results = {name: domain.back(tensor[:, 0].cpu().numpy()) for name, tensor in tensors.items()}
    return {**results, **student}


def _figures(
    name: str, image: np.ndarray, reference: np.ndarray, without: np.ndarray, mask: np.ndarray
) -> dict[str, Any]:
    return {
        "method": name,
        "psnr_foreground": psnr(image, reference, 1.0, mask),
        "ssim_foreground": ssim(image, reference, 1.0, mask),
        "detail": detail_kept(image, reference, without),
    }


def figures_table(figures: list[dict[str, Any]]) -> Table:
    """For the terminal."""
    table = Table(title="Inside the brain, data range 1", title_justify="left")
    table.add_column("method")
    for heading in ("PSNR dB", "SSIM", "fine detail kept"):
        table.add_column(heading, justify="right")
    for row in figures:
        detail = f"{100 * row['detail']:.0f} %"
        table.add_row(row["method"], f"{row['psnr_foreground']:.2f}", f"{row['ssim_foreground']:.3f}", detail)
    return table


def _notes(config: Config, sigma: float) -> list[str]:
    trained = ("blind_spot", "diffusion", "student") if config.has_teacher else ("student",)
    steps = ", ".join(f"{name} {getattr(config, name).steps}" for name in trained)
    taught = f"leak {config.diffusion.leak}, chain of the {config.diffusion.target}, {config.teacher.steps} DDIM steps"
    return [
        f"MNI152 T1 average, {TRAIN['count']} axial slices for training, {TEST['count']} others for testing; "
        f"Gaussian noise of {255 * sigma:g}/255, seed {config.seed}. No clean image was used in training.",
        "The test slices alone carry added fine detail (dots, lines and faint disks of 1 to 9 pixels).",
        f"Preset {config.preset}, training steps: {steps}; {taught if config.has_teacher else 'no teacher'}.",
        "Non-local means was given the true noise level; the method here estimated it.",
    ]
