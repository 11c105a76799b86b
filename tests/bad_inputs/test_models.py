"""Model files made to harm: refused in words, before any memory is taken for what they claim."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from diffdenoise.describe import describe
from diffdenoise.errors import ModelError
from diffdenoise.model import fingerprint_of
from diffdenoise.model_file import load_model
from tests.test_model_file import rewritten

Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], object]


def at(*keys: str, value: Any) -> Change:
    """Sets one entry of the header."""

    def change(header: dict[str, Any], _: object) -> None:
        for key in keys[:-1]:
            header = header[key]
        header[keys[-1]] = value

    return change


def weights(change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    def apply(_: object, of_file: dict[str, torch.Tensor]) -> None:
        of_file["student.head.weight"] = change(of_file["student.head.weight"])

    return apply


CHANGES: dict[str, tuple[Change, str]] = {
    "huge width": (at("config", "student", "width", value=10**6), "do not belong together"),
    "absurd width": (at("config", "student", "width", value=10**30), "do not belong together"),
    "negative width": (at("config", "student", "width", value=-1), "makes no sense"),
    "many blocks": (at("config", "student", "encoder", value=[10**9]), "10000*.*blocks"),
    "many rounds": (at("config", "rounds", value=10**9), "rounds"),
    "uneven network": (at("config", "student", "encoder", value=[1] * 10**5), "equally many levels"),
    "deep network": (at("config", "student", "middle", value=10**5), "do not belong together|blocks"),
    "absurd patch": (at("config", "blind_spot", "patch", value=10**9 + 1), "do not belong together"),
    "endless schedule": (at("config", "diffusion", "timesteps", value=10**12), "makes no sense"),
    "scale zero": (at("normalisation", "scale", value=0), "makes no sense"),
    "scale nan": (at("normalisation", "scale", value=float("nan")), "makes no sense"),
    "unknown mode": (at("normalisation", "mode", value="run"), "makes no sense"),
    "unknown chain": (at("chain", "kind", value="x"), "makes no sense"),
    "chain is a list": (at("chain", value=[]), "makes no sense"),
    "history is text": (at("history", value="x"), "makes no sense"),
    "no config": (lambda header, _: header.pop("config"), "makes no sense"),
    "config is null": (at("config", value=None), "makes no sense"),
    "no fingerprint": (lambda header, _: header.pop("fingerprint"), "makes no sense"),
    "format is a list": (at("format", value=[1]), "model format"),
    "future format": (at("format", value=2), "model format 2"),
    "nan weights": (weights(lambda tensor: tensor * float("nan")), "no numbers"),
    "half precision": (weights(lambda tensor: tensor.to(torch.bfloat16)), "do not belong|fingerprint|kind"),
    "other shape": (weights(lambda tensor: tensor[:1].contiguous()), "do not belong together"),
    "one more tensor": (lambda _, tensors: tensors.update(extra=torch.zeros(3)), "do not belong together"),
}


def signed(change: Change) -> Change:
    """The change, and the fingerprint made right: a liar would do that, too."""

    def apply(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        change(header, tensors)
        with suppress(KeyError, TypeError):
            header["fingerprint"] = (
                fingerprint_of(tensors, header) if "fingerprint" in header else header["fingerprint"]
            )

    return apply


@pytest.mark.parametrize("what", CHANGES)
def test_a_model_that_lies_is_refused(what: str, smoke_model: Path, tmp_path: Path) -> None:
    change, says = CHANGES[what]
    bad = rewritten(smoke_model, tmp_path / "bad.safetensors", signed(change))
    with pytest.raises(ModelError, match=rf"(?s)bad\.safetensors.*({says})"):
        load_model(bad)
    described, errors = describe([bad])  # what `info` shows needs no weights
    assert described or "bad.safetensors" in str(errors[0])


def header_of_length(length: int, header: bytes = b"{}") -> bytes:
    return struct.pack("<Q", length) + header


NESTED = json.dumps({"__metadata__": {"diffdenoise": "[" * 100_000}}).encode()
CONTENTS = {
    "header of exabytes": header_of_length(2**62),
    "header longer than the file": header_of_length(1000),
    "nested without end": header_of_length(len(NESTED), NESTED),
    "a pickle": b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "a zip, as torch.save makes it": b"PK\x03\x04" + bytes(100),
    "tensor behind the end": header_of_length(
        60, b'{"a":{"dtype":"F32","shape":[9999],"data_offsets":[0,39996]}}'.ljust(60)
    ),
}


@pytest.mark.parametrize("what", CONTENTS)
def test_what_only_looks_like_a_model_is_refused(what: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(CONTENTS[what])
    with pytest.raises(ModelError, match=r"bad\.safetensors.*not a diffdenoise model"):
        load_model(path)
