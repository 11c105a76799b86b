"""Study q: noise that is stronger in some places than in others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ablations.j_estimators import repeated
from benchmarks.ablations.k_recorruption import Supervised, Uneven, denoised
from benchmarks.ablations.lab import Lab
from benchmarks.writing import markdown, panels
from diffdenoise.noise.estimate import NoiseLevel, level_by_brightness, level_of
from diffdenoise.noise.looked import Looked, look
from diffdenoise.noise.spatial import Variation
from diffdenoise.run_folder import key_of
from diffdenoise.training.recorrupted import RecorruptedStage
from diffdenoise.training.stage import Stage

TITLE = "Noise that varies over the image"
QUESTION = """White noise of about 25/255, up to three times as strong in the middle of the image as in its corners,
as parallel imaging makes it. The student learns from clean images, or by recorruption: the map told; everything
estimated from the noisy images alone, as a fit does, the map with it (`noise/spatial.py`); or the level by brightness
alone, as before there was a map. Then the maps that are found in real noise, from one scan and from both of a pair:
least and greatest strength over what brightness says."""
FINDING = """With the map that is found in the noisy images alone the student is as good as one that is told it, and
0.2 dB below the supervised one, as far as with noise that is alike everywhere (study k). Without a map, which is how it
was before, it is 2.7 dB lower: the flattest places of each brightness, from which a level comes, are the quietest
ones, and dark places lie at the rim, bright ones in the middle, so that part of what is the place's is taken for the
brightness's. That is why map and brightness have to be fitted together: one after the other, the map was 29 % off in
the head, no better than none (by hand).

Real phantoms: Siemens (from a pair) is 2.2 times as strong in its middle as brightness says, VIDA varies by 18 %, the
others are alike, or vary with brightness and place in the same way (Sola), which the level by brightness holds already.
From a single scan of that size none is clear enough to be believed. In a CT phantom (filtered back-projection, a tenth
of the dose) the noise is 1.5 times as strong in the middle as in the corners, but its grain is coarser there, too: at
the spacing that is looked at, differences vary by less, and no map is made."""
# A hump in the middle, a little off to one side: a_kl of `Variation`, k down, l across.
TABLE = ((0.0, 0.15, -0.45), (0.1, 0.0, 0.0), (-0.45, 0.0, 0.2))
GFACTOR = Variation(TABLE, 0.5, 2.0)
ROWS = {
    "noisy": "noisy",
    "supervised": "supervised",
    "told": "level and map told",
    "found": "level and map estimated",
    "alike": "level by brightness estimated, no map",
}


class Humped(Uneven):
    """Most in the middle."""

    @property
    def name(self) -> str:
        """For file names."""
        return f"{super().name}-uneven"

    @property
    def over(self) -> np.ndarray:
        """The map."""
        return GFACTOR.over(self.clean.shape)


TASK = Humped()


def levels() -> dict[str, NoiseLevel]:
    """Of the training slices: told, estimated with a map, and without one."""
    told = NoiseLevel((0.0,), (TASK.sigma / 255,), variation=GFACTOR)
    looked = look(TASK.noisy[0])
    return {"told": told, "found": level_of(looked), "alike": level_by_brightness(looked)}


def run(lab: Lab) -> dict[str, Any]:
    """PSNR of each student, how far off its level is, and the maps of real noise."""
    known = levels()
    rows = {"noisy": {"psnr": TASK.psnr(TASK.noisy[1])}, "supervised": _figures(lab, Supervised, known["told"])}
    for name, level in known.items():
        rows[name] = _figures(lab, RecorruptedStage, level) | {"off": off(level)}
    real = {
        name: [_ends(look(a)), _ends(look(b)), _ends(look(a, b))]
        for name, a, b in repeated()
        if not name.startswith("head")
    }
    return {"students": rows, "real": real}


def off(level: NoiseLevel) -> float:
    """Root mean square of the log of the deviation that a level lets expect over the true one, in the test heads."""
    shown = np.sqrt(level.variance(TASK.clean, level.over(TASK.clean.shape)))
    true = TASK.sigma / 255 * GFACTOR.over(TASK.clean.shape)
    return float(np.sqrt(np.mean(np.square(np.log(shown / true)[TASK.mask]))))


def _ends(looked: Looked) -> list[float]:
    variation = level_of(looked).variation
    return [variation.low, variation.high]


def _figures(lab: Lab, kind: type[Stage], level: NoiseLevel) -> dict[str, Any]:
    settings = lab.settings("student")
    of = (kind.__name__, TASK.name, settings.model_dump(), repr(level))
    measure = lambda: {"psnr": TASK.psnr(denoised(lab, kind, TASK, settings, level, key_of(*of)))}  # noqa: E731
    return lab.cell(f"uneven-{kind.__name__}", measure, *of)


def tables(result: dict[str, Any]) -> str:
    """Students, real noise."""
    shown = lambda row: f"{100 * row['off']:.0f} %" if "off" in row else "–"  # noqa: E731
    students = [
        [words, f"{result['students'][name]['psnr']:.2f}", shown(result["students"][name])]
        for name, words in ROWS.items()
    ]
    said = lambda ends: "alike" if ends[0] == ends[1] else f"{ends[0]:.2f} to {ends[1]:.2f}"  # noqa: E731
    real = [[name, *map(said, found)] for name, found in result["real"].items()]
    return "\n\n".join(
        (
            markdown(["learns from", "PSNR", "level off by, in the head"], students),
            markdown(["phantom", "first scan", "second scan", "both"], real),
        )
    )


def plot(result: dict[str, Any], path: Path) -> None:
    """PSNR of the students."""
    with panels(path, width=5.0) as axis:
        names = [name for name in ROWS if name != "noisy"]
        axis.barh([ROWS[name] for name in names], [result["students"][name]["psnr"] for name in names])
        axis.set(xlabel="PSNR, dB", xlim=(result["students"]["alike"]["psnr"] - 1, None))
        axis.invert_yaxis()
