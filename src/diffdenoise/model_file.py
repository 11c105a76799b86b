"""One self-describing model file: weights in safetensors, the rest as JSON in its header. Loading runs no code."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from diffdenoise import __version__
from diffdenoise.config import Config
from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.errors import ModelError
from diffdenoise.normalisation import Normalisation
from diffdenoise.scans.atomic import atomic_file
from diffdenoise.training.blind_spot import make_blind_spot
from diffdenoise.training.diffusion import make_diffusion
from diffdenoise.training.student import make_student

FORMAT = 1
KEY = "diffdenoise"


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

    blind_spot: None where the student has no teacher.
    history: what the training was (steps, seconds, device, number of slices); nothing that names a patient or a file.
    """

    config: Config
    normalisation: Normalisation
    chain: ChainTarget
    blind_spot: nn.Module | None
    rounds: tuple[Round, ...]
    history: dict[str, Any] = field(default_factory=dict)

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

    def weights(self) -> dict[str, Tensor]:
        """All tensors, named network.parameter."""
        return {
            f"{name}.{key}": tensor.detach().cpu().contiguous()
            for name, network in self.networks().items()
            for key, tensor in network.state_dict().items()
        }

    def description(self) -> dict[str, Any]:
        """The header, JSON-ready, without the fingerprint."""
        return {
            "format": FORMAT,
            "version": __version__,
            "torch": torch.__version__,
            "config": self.config.model_dump(mode="json"),
            "normalisation": asdict(self.normalisation),
            "chain": asdict(self.chain),
            "history": self.history,
            "notice": "Research use only, not a medical device.",
        }

    def fingerprint(self) -> str:
        """Hash of weights and of what decides a result; two models that denoise alike have the same."""
        return _fingerprint(self.weights(), self.description())

    def to(self, device: str) -> Model:
        """Move the networks; returns self."""
        for network in self.networks().values():
            network.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        return self


def in_round(name: str, number: int) -> str:
    """The name of a network or artefact in a round: as it is in the first, with the number behind it in later ones."""
    return name if number == 1 else f"{name}_{number}"


def save_model(model: Model, path: Path) -> Path:
    """Write a model file, whole or not at all."""
    from safetensors.torch import save

    weights, description = model.weights(), model.description()
    header = {**description, "fingerprint": _fingerprint(weights, description)}
    with atomic_file(path) as beside:
        beside.write_bytes(save(weights, {KEY: json.dumps(header, sort_keys=True)}))
    return path


def read_header(path: Path) -> dict[str, Any]:
    """The description of a model file, weights untouched. Raises ModelError if it is not one of ours."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelError(f"{path}: there is no such model file. Make one with: diffdenoise fit SCANS -o RUN")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[KEY])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ModelError(f"{path}: not a diffdenoise model, or damaged ({error}). Fit or copy it again.") from error
    if header.get("format") != FORMAT:
        raise ModelError(
            f"{path}: model format {header.get('format')}, this version reads {FORMAT}. "
            f"It was written by diffdenoise {header.get('version')}: install that version or fit again."
        )
    return header


def load_model(path: Path) -> Model:
    """Read and check a model file (format, shapes, hash). Raises ModelError; executes nothing from the file."""
    from safetensors.torch import load_file

    header = read_header(path)
    try:
        config = Config.model_validate(header["config"])
        model = Model(
            config,
            Normalisation(**header["normalisation"]),
            ChainTarget(**header["chain"]),
            make_blind_spot(config.blind_spot) if config.has_teacher else None,
            tuple(_untrained(config) for _ in range(config.rounds)),
            header["history"],
        )
        weights = load_file(path)
        for name, network in model.networks().items():
            prefix = f"{name}."
            part = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
            network.load_state_dict(part)
    except (KeyError, TypeError, ValueError, RuntimeError, ValidationError) as error:
        raise ModelError(f"{path}: its weights and its description do not belong together ({error}).") from error
    if _fingerprint(weights, header) != header.get("fingerprint"):
        raise ModelError(f"{path}: damaged, the content does not match its fingerprint. Copy or fit it again.")
    return model.to("cpu")


def _untrained(config: Config) -> Round:
    diffusion = make_diffusion(config.diffusion) if config.has_teacher else None
    return Round(diffusion, make_student(config.student))


def _fingerprint(weights: dict[str, Tensor], description: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    decisive = {key: description[key] for key in ("config", "normalisation", "chain")}
    digest.update(json.dumps(decisive, sort_keys=True).encode())
    for name in sorted(weights):
        tensor = weights[name]
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
