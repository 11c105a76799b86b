"""Weights that a student starts from: of the same network, trained on synthetic anatomy with synthetic noise.

They ship with the package; no image of a patient went into them, and docs/start.md says how they were made. What edges
and noise are they know already; a fit goes on from there. There are some for weak and for strong noise, white and
correlated: a small network that need not know all of it knows its own better.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from diffdenoise.config import StudentSettings
from diffdenoise.noise.estimate import NoiseLevel

FOLDER = Path(__file__).with_name("start")
REACH = 1.8  # each has learned noise from sigma / REACH to sigma * REACH


@dataclass(frozen=True)
class Start:
    """Weights for noise of about this standard deviation, where images span [0, 1]: white, or correlated."""

    sigma: float
    white: bool

    @property
    def name(self) -> str:
        """What its file is called, without the suffix."""
        return f"{'white' if self.white else 'correlated'}-{self.sigma}"


STARTS = tuple(Start(sigma, white) for white in (True, False) for sigma in (0.02, 0.05, 0.12, 0.3))


def start_for(levels: Sequence[NoiseLevel]) -> Start:
    """The one for scans, normalised, with this noise: whether most of it is white, and how strong it typically is."""
    white = float(np.mean([level.texture.is_white for level in levels])) >= 0.5
    sigma = max(float(np.median([level.typical for level in levels])), 1e-12)
    return min((s for s in STARTS if s.white == white), key=lambda s: abs(math.log(s.sigma / sigma)))


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
