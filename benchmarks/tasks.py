"""A task: which images, which noise, what may be trained on. Written to disk in two folders.

    TASK/noisy/train/000.npy …        what a method may train on
    TASK/noisy/test/000.npy …         what it has to denoise: the test images, then some of them with lesions
    TASK/truth.npz                    what only the measures read
    TASK/clean/train/000.npy …        what only the supervised bound is given

Each array is a scan (slices, rows, columns), float32. No method sees another folder than its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.datasets import DATASETS, Images, Split, own_folder
from benchmarks.noises import NOISES, Noise
from benchmarks.paper_data import PAPER_DATASETS
from diffdenoise.errors import ConfigError
from diffdenoise.phantom import add_details
from diffdenoise.quality.reference import foreground
from diffdenoise.run_folder import cached, key_of

Protocol = Literal["inductive", "transductive"]
WITH_LESIONS = 4  # test scans that are denoised once more with lesions in them
REVISION = 1  # of what a task's folder holds
KNOWN = DATASETS | PAPER_DATASETS


@dataclass(frozen=True)
class Task:
    """data: a name in DATASETS or PAPER_DATASETS, or a path; noise: a name in NOISES, None for measured noise."""

    data: str
    noise: str | None = None
    protocol: Protocol = "inductive"
    seed: int = 0

    @property
    def name(self) -> str:
        """For tables."""
        short = {"inductive": "", "transductive": ", seen"}[self.protocol]
        return f"{Path(self.data).name} {self.noise or 'measured'}{short}{f', seed {self.seed}' if self.seed else ''}"

    @property
    def slug(self) -> str:
        """The name without blanks, for folders."""
        return self.name.replace(",", "").replace(" ", "-")

    @property
    def model(self) -> Noise | None:
        """The simulated noise."""
        return NOISES[self.noise] if self.noise else None

    def split(self, shared: Path) -> Split:
        """The images, without noise where it is simulated."""
        return KNOWN[self.data](shared) if self.data in KNOWN else own_folder(Path(self.data))

    @property
    def key(self) -> str:
        """Of everything that the task's files depend on."""
        files = [] if self.data in KNOWN else _stamps(Path(self.data))
        return key_of(REVISION, asdict(self), asdict(self.model) if self.model else None, *files)


# Eight cells that a CPU can bear: three levels, correlated, signal-dependent and magnitude noise, and a real one.
CORE = (
    Task("colin27", "gaussian-6"),
    Task("colin27", "gaussian-25"),
    Task("colin27", "gaussian-50"),
    Task("colin27", "correlated-1.2"),
    Task("xray", "gaussian-25"),
    Task("xray", "poisson-200"),
    Task("mr3t", "rician-15"),
    Task("b0", None, "transductive"),
)
MEASURED = tuple(Task(data, None, "transductive") for data in ("bold", "ct", "phantoms", "lowfield"))
FAINT = tuple(Task(f"{data} faint", "gaussian-25") for data in ("colin27", "xray"))
VOLUMES = tuple(Task("colin27 volume", noise) for noise in ("gaussian-25", "correlated-1.2", "rician-15"))
# Beside `xray`: what of a gap is of the radiographs' own grain.
REDUCED = tuple(
    Task("xray reduced", noise)
    for noise in ("gaussian-6", "gaussian-25", "correlated-1.2", "zero-filled-0.5", "rician-15", "zero-filled-rician-6")
)
FULL = tuple(
    dict.fromkeys(
        CORE
        + MEASURED
        + VOLUMES
        + FAINT
        + REDUCED
        + tuple(
            Task(data, noise, protocol)
            for data in ("colin27", "xray", "mr3t")
            for noise in NOISES
            if " at " not in noise
            for protocol in ("inductive", "transductive")
        )
    )
)

# The paper's table, for those who hold its data; M4Raw's noise is its own.
PAPER = tuple(
    [Task("fastmri_knee", noise) for noise in ("gaussian-6", "correlated-0.5 at 6", "correlated-1.2 at 6")]
    + [Task("fastmri_brain", "gaussian-6"), Task("covid_xray", "gaussian-6")]
    + [Task(f"m4raw {contrast}") for contrast in ("T1", "T2", "FLAIR")]
)


def prepared(task: Task, shared: Path, cache: Path) -> Path:
    """The task's folder, written if it is not there."""
    return cached(cache / "tasks" / task.slug, task.key, lambda folder: _write(task, task.split(shared), folder))


def _write(task: Task, split: Split, folder: Path) -> None:
    scans = [image.pixels for image in split.test]
    truth: dict[str, Any] = {"patients": np.array([image.patient for image in split.test])}
    truth |= {f"insert {name}": np.array(place) for name, place in split.inserts.items()}
    tested, model = list(scans), task.model
    if split.clean and model:
        drawn = [add_details(scan, task.seed) for scan in scans[: 0 if split.inserts else WITH_LESIONS]]
        # The same noise with and without lesions: what differs in the results is the lesions' own response.
        tested = [model.add(scan, _seed(task, "test", n)) for n, scan in enumerate(scans)]
        tested += [model.add(scan, _seed(task, "test", n)) for n, (scan, _) in enumerate(drawn)]
        truth |= {f"detail{n}": detail for n, (_, detail) in enumerate(drawn)}
        truth |= {f"deviation{n}": model.deviation(scan) for n, scan in enumerate(scans)}
    for number, image in enumerate(split.test):
        truth |= _truth_of(image, number, split.clean)
    if task.protocol == "inductive" and not split.train:
        raise ConfigError(
            f"{task.data} holds scans of one patient alone, so that none is left to train on. "
            "Put each patient's into a sub-folder, or train on the noisy test scans themselves with --seen."
        )
    trained = split.train if task.protocol == "inductive" else []
    noisy = [model.add(s.pixels, _seed(task, "train", n)) if model else s.pixels for n, s in enumerate(trained)]
    _save(folder / "noisy" / "train", noisy or tested[: len(scans)])
    _save(folder / "noisy" / "test", tested)
    if split.clean and trained:
        _save(folder / "clean" / "train", [scan.pixels for scan in trained])
    np.savez_compressed(folder / "truth.npz", **truth)


def _stamps(folder: Path) -> list[tuple[str, int, int]]:
    """What tells that a user's own files are other ones than before."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [(str(file.relative_to(folder)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _truth_of(image: Images, number: int, clean: bool) -> dict[str, np.ndarray]:
    if not clean and not image.further:
        return {}
    reference = image.pixels if clean else np.mean(image.further, 0)
    inside = foreground(reference) if image.inside is None else image.inside
    further = {} if len(image.further) < 2 else {f"further{number}": np.stack(image.further)}
    return {f"reference{number}": reference, f"inside{number}": inside, **further}


def _save(folder: Path, scans: list[np.ndarray]) -> None:
    folder.mkdir(parents=True)
    for number, scan in enumerate(scans):
        np.save(folder / f"{number:03d}.npy", np.ascontiguousarray(scan, dtype=np.float32))


def load(folder: Path) -> list[np.ndarray]:
    """The scans in a folder, in order."""
    return [np.load(file) for file in sorted(folder.glob("*.npy"))]


def _seed(task: Task, part: str, number: int) -> int:
    return int(key_of(task.seed, part, number)[:8], 16)
