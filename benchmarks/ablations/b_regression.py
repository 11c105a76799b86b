"""Study b: is it the diffusion, or would a plain regression do?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.ablations.c_leak import SIGMAS, measured
from benchmarks.ablations.lab import Lab, Task
from benchmarks.writing import markdown, panels

TITLE = "A plain regression in place of the diffusion"
QUESTION = """The network of the diffusion, trained for the same steps on the same crops to predict x_noisy from x_c
in one step, beside SRDS with 10 steps (two chains: 20 times the work). With the leak open as published, and closed
(redrawn)."""
FINDING = """With the leak closed the two are the same, and the same as x_c: what SRDS estimates is the conditional
mean, and the regression gives that in one pass. With the leak open the regression is far worse: within 500 steps it
has learned to undo the blind-spot network and gives back two thirds of the noise, while the diffusion, whose every
step sees another amount of noise, has only begun to. That is a matter of training time, not of kind: after 1000 steps
of the demo the diffusion had lost 3.45 dB (docs/architecture.md). So SRDS is not better than a regression here; it
learns the leak more slowly."""
LEAKS = ("open", "redrawn")
NAMES = ("x_c", "regression", "SRDS, 1", "SRDS, 10")


def run(lab: Lab) -> dict[str, Any]:
    """From the cells of study c."""
    return {"rows": [measured(lab, (Task(sigma=sigma), "patch_blind", leak)) for sigma in SIGMAS for leak in LEAKS]}


def tables(result: dict[str, Any]) -> str:
    """PSNR in dB."""
    head = ["noise", "leak", *NAMES, "SRDS, 10 minus regression"]
    body = []
    for row in result["rows"]:
        psnr = {name: row["images"][name]["psnr"] for name in NAMES}
        difference = f"{psnr['SRDS, 10'] - psnr['regression']:+.2f}"
        body.append([f"{row['sigma']:g}/255", row["leak"], *(f"{psnr[name]:.2f}" for name in NAMES), difference])
    return markdown(head, body)


def plot(result: dict[str, Any], path: Path) -> None:
    """PSNR over x_c."""
    with panels(path, width=6) as axis:
        for number, leak in enumerate(LEAKS):
            rows = [row for row in result["rows"] if row["leak"] == leak]
            for name, style in (("regression", "x:"), ("SRDS, 10", "o-")):
                gains = [row["images"][name]["psnr"] - row["images"]["x_c"]["psnr"] for row in rows]
                axis.plot([row["sigma"] for row in rows], gains, style, color=f"C{number}", label=f"{leak}, {name}")
        axis.axhline(0, color="0.7", linewidth=0.8)
        axis.set(xlabel="noise, /255", ylabel="PSNR over x_c, dB")
        axis.legend(fontsize=8)
