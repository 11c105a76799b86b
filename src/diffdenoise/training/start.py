"""Weights that a student starts from: of the same network, trained on synthetic anatomy with synthetic noise.

They ship with the package; no image of a patient went into them, and docs/start.md says how they were made. What edges
and noise are they know already; a fit goes on from there. There are some for weak and for strong noise, white and
correlated, and for noise that grows with brightness: a small network that need not know all of it knows its own better.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from diffdenoise.config import StudentSettings
from diffdenoise.noise.estimate import NoiseLevel

FOLDER = Path(__file__).with_name("start")
REACH = 1.8  # each has learned noise from sigma / REACH to sigma * REACH
GROWING = 2.0  # times as strong at the brightest as at the darkest; Rician noise is 1.5 times


@dataclass(frozen=True)
class Start:
    """Weights for noise of about this standard deviation, where images span [0, 1].

    Growing noise is white, and stronger where it is brighter, as speckle and counts are.
    """

    sigma: float
    kind: Literal["white", "correlated", "growing"]

    @property
    def name(self) -> str:
        """What its file is called, without the suffix."""
        return f"{self.kind}-{self.sigma}"


STARTS = (
    *(Start(sigma, kind) for kind in ("white", "correlated") for sigma in (0.02, 0.05, 0.12, 0.3)),
    Start(0.12, "growing"),
)


def start_for(levels: Sequence[NoiseLevel]) -> Start:
    """The one for scans, normalised, with this noise: of which kind most of it is, and how strong it typically is."""
    kind = "white" if np.mean([level.texture.is_white for level in levels]) >= 0.5 else "correlated"
    if kind == "white" and np.median([_growth(level) for level in levels]) >= GROWING:
        kind = "growing"
    sigma = max(float(np.median([level.typical for level in levels])), 1e-12)
    return min((s for s in STARTS if s.kind == kind), key=lambda s: abs(math.log(s.sigma / sigma)))


def _growth(level: NoiseLevel) -> float:
    """How many times as strong as where it is dark the noise is where it is bright."""
    return level.sigma[-1] / max(level.sigma[0], 1e-12)


def start_key(settings: StudentSettings) -> str | None:
    """What tells fits with other weights to start from apart; None if they start from random ones."""
    files = sorted(FOLDER.glob("*.safetensors")) if settings.start == "synthetic" else []
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest() if files else None


def load_start(network: nn.Module, start: Start) -> None:
    """Give the network these weights; images that it sees besides the first have no say at the start.

    Raises ValueError if the network is of another size.
    """
    stored = load_file(FOLDER / f"{start.name}.safetensors")
    weights, own = {key: value.float() for key, value in stored.items()}, network.state_dict()
    seen = own["head.weight"].shape[1]
    head = weights["head.weight"]
    weights["head.weight"] = torch.cat([head, head.new_zeros(len(head), seen - 1, *head.shape[2:])], dim=1)
    if {key: value.shape for key, value in weights.items()} != {key: value.shape for key, value in own.items()}:
        raise ValueError("the weights to start from are of a student of another size")
    network.load_state_dict(weights)
