"""Study s: a second opinion by collaborative filtering."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy.ndimage import maximum_filter

from benchmarks.ablations.fits import opinions, without_teacher
from benchmarks.ablations.lab import SHARED, TEST, TRAIN, Lab, slices_of
from benchmarks.noises import NOISES
from benchmarks.writing import markdown, panels
from diffdenoise import collaborative
from diffdenoise.inference import denoise_slices
from diffdenoise.quality.reference import foreground, psnr
from diffdenoise.second_opinion import Shares

TITLE = "A second opinion by collaborative filtering"
QUESTION = """Colin27 (MNI152 where that is not at hand), 60 slices to fit on and 5 others to test, each by itself, with
noise of several kinds: the preset `fast` by one pass, as the mean over eight turns, and with a second opinion about
that (`collaborative.py`), by the shares that the noisy slices of the fit bear out (inside the head / around it), and by
those that each noisy test slice bears out, where that is more, as a user is given it (`second_opinion.py`; the mean of
the five). Beside them the share that would have been best inside, which nobody can know, and what it would have
brought; and what one share that the slice bears out for the whole image brings.

Below, the second opinion alone, and the same with the stacks of the patches that are *most* alike in the student's
result (`ALIKE` = 0), as BM3D has them: PSNR, and the error in the empty background, root mean square in 1/255."""
FINDING = """The second opinion brings 0.1 dB at 6/255 and 0.2 to 0.4 dB on stronger noise beyond the eight turns, by
the share that each slice bears out: within 0.03 dB of the best share. Where noise has a texture that took a cure: by
the differences as they are, and with a level 9 % too high (by hand), 0.24 was found of correlated noise inside the
head, the best for all was 0.6, and 28.41 dB were had instead of 28.59. The fit's own slices bear out 0.1 to 0.3 less,
for the student knows them, their noise with them. Here a share for the head and one around it are worth no more than
one for both: the student knows this head. Study u has another.

Stacks of the most alike patches hold noise that is alike, for what they are alike in is what the student left of it.
In the empty background the second opinion then errs 1.0 to 2.2 times as far, farther than the student alone, and
inside the head it is 0.01 to 0.1 dB worse. As it is, it errs less there than the student, but for Rician and
correlated noise, where what is mixed in adds to the background's error (less than 0.1 and 0.3 of 255)."""
KINDS = {
    "gaussian-6": "white, 6/255",
    "gaussian-25": "white, 25/255",
    "gaussian-50": "white, 50/255",
    "uneven-15": "uneven, 15/255",
    "rician-15": "Rician, 15/255",
    "zero-filled-0.5": "zero-filled, 15/255",
    "correlated-1.2": "correlated over 1.2 px, 15/255",
}
SHARES = tuple(number / 10 for number in range(11))
BACKGROUND = {"eight turns": "eight turns", "by scan": "mixed", "alone": "alone", "most alike": "of most alike"}
SEED = 0
MARGIN = 9  # pixels; side of the square around an empty pixel that is empty, too


def run(lab: Lab) -> dict[str, Any]:
    """Of each kind of noise: the share found, PSNR by one pass, eight, and each share of the second opinion."""
    subject = "colin27" if SHARED.exists() and lab.size.name != "smoke" else "mni152"
    kinds = list(KINDS) if lab.size.name != "smoke" else ["gaussian-25"]
    return {kind: lab.cell(f"second-{kind}", partial(_measured, lab, subject, kind), subject) for kind in kinds}


def _measured(lab: Lab, subject: str, kind: str) -> dict[str, Any]:
    noise, clean = NOISES[kind], slices_of(subject, **TEST)
    known = noise.add(slices_of(subject, **TRAIN), SEED)
    new = [noise.add(image[None], SEED + 1 + number) for number, image in enumerate(clean)]
    wishes = {"neighbours": 0, "series": False, "turns": 8, "second_opinion": True}
    model = without_teacher(lab, {f"{subject} {kind}": known}, {"student": wishes})
    assert model.second_opinion
    shares = model.second_opinion.shares
    said = [opinions(model, scan, lab.device) for scan in new]
    with patch.object(collaborative, "ALIKE", 0.0):
        most_alike = [opinions(model, scan, lab.device).second for scan in new]
    figure = partial(_figure, clean)
    return {
        "noise": asdict(noise),
        "one": figure(denoise_slices(model, scan, "student", device=lab.device).pixels for scan in new),
        "fit's shares": shares,
        "by fit": figure(one.mixed(shares) for one in said),
        "scan's shares": np.mean([one.shares for one in said], axis=0).tolist(),
        "by scan": figure(one.mixed(one.shares) for one in said),
        "by one": figure(one.mixed(one.single) for one in said),
        "shares": [(share, figure(one.mixed(Shares(share, share)) for one in said)) for share in SHARES],
        "most alike": figure(most_alike),
        "background": {
            "eight turns": _background(clean, (one.first for one in said)),
            "by scan": _background(clean, (one.mixed(one.shares) for one in said)),
            "alone": _background(clean, (one.second for one in said)),
            "most alike": _background(clean, most_alike),
        },
    }


def _figure(clean: np.ndarray, results: Iterable[np.ndarray]) -> float:
    """PSNR inside the head, dB."""
    return psnr(np.concatenate(list(results)), clean, 1.0, foreground(clean))


def _background(clean: np.ndarray, results: Iterable[np.ndarray]) -> float:
    """Root mean square error where nothing is, 1/255."""
    empty = maximum_filter(clean, (1, MARGIN, MARGIN)) < 1 / 255
    return 255 * float(np.square(np.concatenate(list(results)) - clean)[empty].mean() ** 0.5)


def tables(result: dict[str, Any]) -> str:
    """A row for each kind of noise, of what is mixed and of the second opinion alone."""
    shares = [words for share in ("fit's", "scan's", "best share") for words in (share, "by that")]
    rows = [(words, result[kind]) for kind, words in KINDS.items() if kind in result]
    head = ["noise", "one pass", "eight turns", *shares, "by one of the scan"]
    mixed = markdown(head, [[words, *_row(row)] for words, row in rows])
    head = ["noise", "alone", "of most alike", *(f"background: {words}" for words in BACKGROUND.values())]
    return f"{mixed}\n\n{markdown(head, [[words, *_row_alone(row)] for words, row in rows])}"


def _row_alone(row: dict[str, Any]) -> list[str]:
    figures = row["shares"][-1][1], row["most alike"], *(row["background"][of] for of in BACKGROUND)
    return _words(figures)


def _row(row: dict[str, Any]) -> list[str]:
    best, most = max(row["shares"], key=lambda point: point[1])
    fit, scan = (" / ".join(f"{share:.2f}" for share in row[of]) for of in ("fit's shares", "scan's shares"))
    before, after = (row["one"], row["shares"][0][1]), (row["by scan"], best, most, row["by one"])
    return [*_words(before), fit, *_words([row["by fit"]]), scan, *_words(after)]


def _words(figures: Iterable[float]) -> list[str]:
    return [f"{figure:.2f}" for figure in figures]


def plot(result: dict[str, Any], path: Path) -> None:
    """Gain over the mean of eight by the share; marked: by the fit's, and by the scans' own."""
    with panels(path, width=5.0) as axis:
        for kind, row in ((kind, result[kind]) for kind in KINDS if kind in result):
            eight = row["shares"][0][1]
            (line,) = axis.plot(*zip(*((share, value - eight) for share, value in row["shares"]), strict=True))
            line.set_label(KINDS[kind])
            axis.plot(row["fit's shares"][0], row["by fit"] - eight, "o", color=line.get_color(), fillstyle="none")
            axis.plot(row["scan's shares"][0], row["by scan"] - eight, "o", color=line.get_color())
        axis.set(xlabel="share of the second opinion", ylabel="gain over the mean of eight, dB")
        axis.axhline(0, color="0.7", linewidth=0.8)
        axis.legend(fontsize=7, loc="upper left")
