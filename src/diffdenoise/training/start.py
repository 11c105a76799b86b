"""Weights that a student starts from: of the same network, trained on synthetic anatomy with synthetic noise.

They ship with the package; no image of a patient went into them, and docs/start.md says how they were made. What edges
and noise are they know already; a fit goes on from there.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

FILE = Path(__file__).with_name("start.safetensors")


def load_start(network: nn.Module) -> None:
    """Give the network the shipped weights; images that it sees besides the first have no say at the start.

    Raises ValueError if the network is of another size.
    """
    weights, own = load_file(FILE), network.state_dict()
    seen = own["head.weight"].shape[1]
    head = weights["head.weight"]
    weights["head.weight"] = torch.cat([head, head.new_zeros(len(head), seen - 1, *head.shape[2:])], dim=1)
    if {key: value.shape for key, value in weights.items()} != {key: value.shape for key, value in own.items()}:
        raise ValueError("the weights to start from are of a student of another size")
    network.load_state_dict(weights)
