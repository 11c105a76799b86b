"""The methods of the benchmark under one interface; a new one is a function and a line in METHODS.

A method is given noisy scans and a time to train in (`Given`), and returns a function that denoises scans: a list of
arrays (slices, rows, columns) in, a list of the same shapes out. It runs in a process of its own (`worker`), which
measures its time and memory. Heavy packages are imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.noises import Noise

Scans = list[np.ndarray]
Denoise = Callable[[Scans], Scans]


@dataclass(frozen=True)
class Given:
    """What a method gets. noise: told to those that are marked so; clean: to the supervised bound alone.

    single: whether what it will denoise are single slices, whatever it trains on.
    """

    train: Scans
    seconds: float
    device: str
    seed: int
    work: Path  # an empty folder for its own files
    noise: Noise | None = None
    clean: Scans | None = None
    single: bool = False


class NotApplicableError(Exception):
    """The method cannot do this task; the table shows a dash."""


def require_series(scans: Scans) -> None:
    """Raises NotApplicableError unless the scans may be the frames of a series: ten or more, of the same shape."""
    if len(scans) < 10 or len({scan.shape for scan in scans}) > 1:
        raise NotApplicableError("it needs a series of ten or more scans of the same shape")


@dataclass(frozen=True)
class Method:
    """make: see the module, as "module:function" in benchmarks.methods.

    told: what it is told beyond noisy scans; sees: what it trains on ("nothing", "each image" for itself, the "set").
    core: part of the table without being named; the others would make a few hours of it most of a day.
    revision: raise it when the method changed, so that its cells are computed anew.
    """

    title: str
    make: str
    family: Literal["classical", "self-supervised", "ours", "bound"]
    sees: Literal["nothing", "each image", "set"] = "set"
    told: Literal["", "noise", "clean"] = ""
    core: bool = True
    revision: int = 1

    def load(self) -> Callable[[Given], Denoise]:
        """The function, imported now."""
        from importlib import import_module

        module, _, name = self.make.partition(":")
        return getattr(import_module(f"benchmarks.methods.{module}"), name)


def classical(title: str, name: str, told: Literal["", "noise"] = "", core: bool = True) -> Method:
    """A method that trains on nothing."""
    return Method(title, f"classical:{name}", "classical", "nothing", told, core)


METHODS: dict[str, Method] = {
    "noisy": classical("noisy", "noisy"),
    "tv": classical("total variation", "total_variation"),
    "wavelet": classical("wavelets", "wavelet"),
    "nlm": classical("non-local means", "non_local_means"),
    "dipy-nlm": classical("DIPY nlmeans", "dipy_nlmeans", core=False),
    "mppca": classical("MP-PCA (series)", "mp_pca", core=False),
    "bm3d": replace(classical("BM3D, noise estimated", "bm3d"), revision=2),
    "bm3d-true": classical("BM3D, noise told", "bm3d_told", "noise"),
    "n2v": Method("Noise2Void, own schedule", "noise2void:noise2void", "self-supervised"),
    "n2v-falling": Method("Noise2Void, falling rate", "noise2void:falling", "self-supervised", revision=2),
    "ne2ne": Method("Neighbor2Neighbor", "learned:neighbor2neighbor", "self-supervised", revision=2),
    "r2r": Method("R2R / GR2R", "learned:r2r", "self-supervised", revision=2),
    "sure": Method("SURE", "learned:sure", "self-supervised", revision=2),
    "unsure": Method("UNSURE", "learned:unsure", "self-supervised", core=False, revision=2),
    "n2self": Method("Noise2Self", "learned:noise2self", "self-supervised", core=False, revision=2),
    "zsn2n": Method("ZS-N2N", "zero_shot:zs_n2n", "self-supervised", "each image", core=False),
    "puca": Method("PUCA alone", "ours:puca", "self-supervised", core=False),
    "laine": Method("Laine with posterior", "ours:laine", "self-supervised", core=False),
    "paper-srds": Method("paper preset, SRDS (at this budget not the paper)", "ours:paper_srds", "ours", core=False),
    "paper": replace(
        Method("paper preset, student (at this budget not the paper)", "ours:paper", "ours", core=False), revision=2
    ),
    "paper-small": Method("as published, small networks", "ours:paper_small", "ours", core=False),
    "taught": Method("diffdenoise, three stages", "ours:three_stages", "ours", revision=2),
    "ensemble": Method("diffdenoise, ensemble", "ours:ensemble", "ours", core=False, revision=3),
    "scratch": Method("diffdenoise, from random weights", "ours:scratch", "ours", core=False, revision=6),
    "once": Method("diffdenoise, one pass", "ours:once", "ours", core=False, revision=3),
    "ours": Method("diffdenoise", "ours:default", "ours", revision=14),
    "ours-series": Method("diffdenoise (series)", "ours:series", "ours", core=False, revision=4),
    "ours-grain": Method("diffdenoise, grain kept", "ours:grain_kept", "ours", core=False),
    "ours-told": Method("diffdenoise, noise told", "ours:told", "ours", told="noise", core=False, revision=8),
    "supervised": Method("supervised, same budget", "learned:supervised", "bound", told="clean", revision=2),
    "supervised-start": Method(
        "supervised, from our start", "learned:supervised_started", "bound", told="clean", core=False, revision=3
    ),
    "supervised-l2": Method(
        "supervised, from our start, L2", "learned:supervised_by_l2", "bound", told="clean", core=False, revision=2
    ),
    "supervised-long": Method(
        "supervised, from our start, L2, ten budgets",
        "learned:supervised_long",
        "bound",
        told="clean",
        core=False,
        revision=4,
    ),
}
