"""A trained model: its networks, and what is needed to apply them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from diffdenoise import __version__
from diffdenoise.config import Config
from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.normalisation import Normalisation
from diffdenoise.second_opinion import SecondOpinion
from diffdenoise.text import NOTICE

FORMAT = 1
DECISIVE = ("config", "normalisation", "chain", "strength", "second_opinion")  # the last two are not in files of old


@dataclass(frozen=True)
class Round:
    """What one round trains: a diffusion model given the round's condition, and the student of its teacher.

    diffusion: None where the student has no teacher.
    """

    diffusion: nn.Module | None
    student: nn.Module


@dataclass(frozen=True)
class Model:
    """The trained networks and what is needed to apply them; the last round's student is the one users run.

    blind_spot: None where the student has no teacher. strength: the share of the student's correction that is made.
    second_opinion: what is asked beside the student, if it is.
    history: what the training was (device, precision, number of scans and slices, modality of all if they say it);
    nothing that names a patient or a file. stored: the header of its file, if it came from one; saved again it has the
    same, and the same fingerprint.
    """

    config: Config
    normalisation: Normalisation
    chain: ChainTarget
    blind_spot: nn.Module | None
    rounds: tuple[Round, ...]
    history: dict[str, Any] = field(default_factory=dict)
    strength: float = 1.0
    second_opinion: SecondOpinion | None = None
    # not taken over by `replace`, which makes another model
    stored: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def student(self) -> nn.Module:
        """The fast student, (N, 1, H, W) -> (N, 1, H, W)."""
        return self.rounds[-1].student

    def networks(self) -> dict[str, nn.Module]:
        """Those it has, by name: blind_spot, diffusion, student, and diffusion_2, student_2, ... of later rounds."""
        named = {"blind_spot": self.blind_spot}
        for number, part in enumerate(self.rounds, 1):
            named |= {in_round("diffusion", number): part.diffusion, in_round("student", number): part.student}
        return {name: network for name, network in named.items() if network is not None}

    def tensors(self) -> dict[str, Tensor]:
        """All tensors, named network.parameter, where they are."""
        networks = self.networks().items()
        return {f"{name}.{key}": tensor for name, part in networks for key, tensor in part.state_dict().items()}

    def weights(self) -> dict[str, Tensor]:
        """The same on the CPU."""
        return {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors().items()}

    def description(self) -> dict[str, Any]:
        """The header, JSON-ready, without the fingerprint; of a model from a file as it stands there.

        What a file of an earlier version does not name is not added, for then its fingerprint would be another.
        """
        if self.stored:
            return {key: value for key, value in self.stored.items() if key != "fingerprint"}
        return {
            "format": FORMAT,
            "version": __version__,
            "torch": torch.__version__,
            "config": self.config.model_dump(mode="json"),
            "normalisation": asdict(self.normalisation),
            "chain": asdict(self.chain),
            "strength": self.strength,
            "second_opinion": self.second_opinion and asdict(self.second_opinion),
            "history": self.history,
            "notice": f"{NOTICE}.",
        }

    def fingerprint(self) -> str:
        """Hash of weights and of what decides a result; two models that denoise alike have the same.

        Of a file of an earlier version it stays what it was, though there may be settings now that it does not name,
        also where it is saved again: results, and images in archives, are known by it.
        """
        return self.stored.get("fingerprint") or fingerprint_of(self.weights(), self.description())

    def to(self, device: str) -> Model:
        """Move the networks; returns self."""
        for network in self.networks().values():
            network.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        return self


def in_round(name: str, number: int) -> str:
    """The name of a network or artefact in a round: as it is in the first, with the number behind it in later ones."""
    return name if number == 1 else f"{name}_{number}"


def fingerprint_of(weights: dict[str, Tensor], description: dict[str, Any]) -> str:
    """Hash of weights and of what decides a result in a description."""
    digest = hashlib.sha256()
    decisive = {key: description[key] for key in DECISIVE if key in description}
    digest.update(json.dumps(decisive, sort_keys=True).encode())
    for name in sorted(weights):
        tensor = weights[name]
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
