"""One self-describing model file: weights in safetensors, the rest as JSON in its header. Loading runs no code."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from diffdenoise.config import Config
from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.errors import ModelError, reason_of
from diffdenoise.model import FORMAT, Model, Round, fingerprint_of
from diffdenoise.normalisation import Normalisation
from diffdenoise.scans.atomic import atomic_file
from diffdenoise.second_opinion import SecondOpinion
from diffdenoise.training.blind_spot import make_blind_spot
from diffdenoise.training.diffusion import make_diffusion
from diffdenoise.training.student import make_student

KEY = "diffdenoise"


def save_model(model: Model, path: Path) -> Path:
    """Write a model file, whole or not at all. Raises ModelError where it cannot be."""
    from safetensors.torch import save

    weights, description = model.weights(), model.description()
    header = {**description, "fingerprint": fingerprint_of(weights, description)}
    try:
        with atomic_file(path) as beside:
            beside.write_bytes(save(weights, {KEY: json.dumps(header, sort_keys=True)}))
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be written ({reason_of(error)}). Check its folder, space and rights."
        ) from error
    return path


def read_header(path: Path) -> dict[str, Any]:
    """The description of a model file, weights untouched. Raises ModelError if it is not one of ours."""
    from safetensors import safe_open

    if not path.is_file():
        raise ModelError(f"{path}: there is no such model file. Make one with: diffdenoise fit SCANS -o RUN")
    if not os.access(path, os.R_OK):
        raise ModelError(f"{path}: cannot be opened: its rights forbid it. Ask its owner for the right to read it.")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[KEY])
        version, written_by = header.get("format"), header.get("version")
    except Exception as error:  # damaged or hostile; whatever the reason, it is no model
        raise ModelError(f"{path}: not a diffdenoise model, or damaged ({error}). Fit or copy it again.") from error
    if version != FORMAT:
        raise ModelError(
            f"{path}: model format {version}, this version reads {FORMAT}. "
            f"It was written by diffdenoise {written_by}: install that version or fit again."
        )
    try:
        _described(header)
        return header
    except Exception as error:  # as above
        raise ModelError(f"{path}: its description makes no sense ({_brief(error)}). Fit or copy it again.") from error


def load_model(path: Path) -> Model:
    """Read and check a model file (format, shapes, hash). Raises ModelError; executes nothing from the file."""
    from safetensors.torch import load_file

    header = read_header(path)
    try:
        model = _untrained(header, _shapes(path))
        weights = load_file(path)
        for name, network in model.networks().items():
            prefix = f"{name}."
            part = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
            network.load_state_dict(part)
        fingerprint = fingerprint_of(weights, header)
    except Exception as error:  # as above
        fault = f"its weights and its description do not belong together ({_brief(error)})"
        raise ModelError(f"{path}: {fault}. Fit or copy it again.") from error
    if fingerprint != header.get("fingerprint"):
        raise ModelError(f"{path}: damaged, the content does not match its fingerprint. Copy or fit it again.")
    if not all(weight.isfinite().all() for weight in weights.values()):
        raise ModelError(f"{path}: holds weights that are no numbers. Fit it again.")
    object.__setattr__(model, "stored", header)
    return model.to("cpu")


def _described(header: dict[str, Any]) -> Model:
    """What the header says, without networks. Raises whatever a header that is not ours may lead to."""
    normalisation, chain = Normalisation.of_dict(header["normalisation"]), ChainTarget(**header["chain"])
    if chain.kind not in ("image", "residual") or not (math.isfinite(chain.scale) and chain.scale > 0):
        raise ValueError(f"unknown kind {chain.kind}, or scale {chain.scale}")
    strength, stored = float(header.get("strength", 1.0)), header.get("second_opinion")
    if not 0 <= strength <= 1:
        raise ValueError(f"strength {strength}")
    second = None if stored is None else SecondOpinion.of_dict(stored)
    if not isinstance(header["history"], dict):
        raise ValueError("no history")
    if missing := {"version", "torch", "notice", "fingerprint"} - header.keys():
        raise ValueError(f"without {', '.join(sorted(missing))}")
    config = Config.model_validate(header["config"])
    return Model(config, normalisation, chain, None, (), header["history"], strength, second)


def _shapes(path: Path) -> dict[str, list[int]]:
    """Of the tensors in a file, which are as large as the file itself at the most."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118


def _untrained(header: dict[str, Any], shapes: dict[str, list[int]]) -> Model:
    """The model with fresh networks. Raises ValueError where the file holds others than the config asks for."""
    model = _described(header)
    _require_as_many(model.config, len(shapes))
    with torch.device("meta"):  # takes no memory, however large the networks are
        sizes = {name: list(tensor.shape) for name, tensor in _with_networks(model).tensors().items()}
    if sizes != shapes:
        wrong = sorted(name for name in sizes | shapes if sizes.get(name) != shapes.get(name))
        raise ValueError(f"tensors differ, such as {wrong[0]}")
    return _with_networks(model)


def _require_as_many(config: Config, tensors: int) -> None:
    """Each block and round has tensors of its own: a config that asks for more of them is a lie, and costs time."""
    blocks = config.blind_spot.blocks
    asked = [config.rounds, config.diffusion.blocks, *([blocks] if isinstance(blocks, int) else blocks)]
    asked += [config.student.middle, *config.student.encoder, *config.student.decoder]
    if max(asked) > tensors:
        raise ValueError(f"{max(asked)} blocks or rounds in {tensors} tensors")


def _with_networks(model: Model) -> Model:
    config = model.config
    blind_spot = make_blind_spot(config.blind_spot) if config.has_teacher else None
    return replace(model, blind_spot=blind_spot, rounds=tuple(_fresh(config) for _ in range(config.rounds)))


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _fresh(config: Config) -> Round:
    diffusion = make_diffusion(config.diffusion) if config.has_teacher else None
    return Round(diffusion, make_student(config.student))
