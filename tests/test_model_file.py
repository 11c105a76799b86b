import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from diffdenoise.denoiser import Denoiser
from diffdenoise.errors import ModelError
from diffdenoise.model import fingerprint_of
from diffdenoise.model_file import load_model, read_header, save_model
from tests.conftest import noisy_disks


def rewritten(path: Path, to: Path, change) -> Path:
    """The model file with its header and weights changed by hand."""
    weights = load_file(path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["diffdenoise"])
    change(header, weights)
    save_file(weights, to, {"diffdenoise": json.dumps(header)})
    return to


def test_a_model_comes_back_the_same(smoke_model: Path, tmp_path: Path) -> None:
    model = load_model(smoke_model)
    again = save_model(model, tmp_path / "again.safetensors")
    assert load_model(again).fingerprint() == model.fingerprint() == read_header(smoke_model)["fingerprint"]
    noisy = noisy_disks(seed=5)
    assert np.array_equal(Denoiser.load(smoke_model).denoise(noisy), Denoiser.load(again).denoise(noisy))


def test_a_model_of_before_there_was_a_setting_is_known_by_the_same_fingerprint_where_it_is_saved_again(
    smoke_model: Path, tmp_path: Path
) -> None:
    def before(header: dict, weights: dict) -> None:
        del header["config"]["stabilise"], header["config"]["student"]["turns"]
        header["version"] = "0.0.1"
        header["fingerprint"] = fingerprint_of(weights, header)

    old = rewritten(smoke_model, tmp_path / "old.safetensors", before)
    again = Denoiser.load(old).save(tmp_path / "again.safetensors")
    assert read_header(again) == read_header(old)
    assert load_model(again).fingerprint() == load_model(old).fingerprint() != read_header(smoke_model)["fingerprint"]
    another = save_model(replace(load_model(old), strength=0.5), tmp_path / "another.safetensors")
    assert read_header(another)["config"] == read_header(smoke_model)["config"]
    assert load_model(another).fingerprint() == read_header(another)["fingerprint"]


def test_a_place_that_cannot_be_written_is_told(smoke_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"m\.safetensors: cannot be written"):
        save_model(load_model(smoke_model), tmp_path / "nowhere" / "m.safetensors")


def test_it_describes_itself_and_names_no_file(smoke_model: Path) -> None:
    header = read_header(smoke_model)
    assert header["config"]["preset"] == "smoke"
    assert header["normalisation"]["mode"] == "noise"
    assert "not a medical device" in header["notice"]
    assert str(smoke_model.parent) not in json.dumps(header)


def test_a_model_of_before_there_was_a_strength_has_all_of_it(smoke_model: Path, tmp_path: Path) -> None:
    def before(header: dict, weights: dict) -> None:
        del header["strength"]
        header["fingerprint"] = fingerprint_of(weights, header)

    old = rewritten(smoke_model, tmp_path / "old.safetensors", before)
    assert load_model(old).strength == 1
    assert load_model(old).fingerprint() == read_header(old)["fingerprint"] != read_header(smoke_model)["fingerprint"]
    again = save_model(load_model(old), tmp_path / "again.safetensors")
    assert load_model(again).fingerprint() == read_header(again)["fingerprint"] == read_header(old)["fingerprint"]
    half = save_model(replace(load_model(old), strength=0.5), tmp_path / "half.safetensors")
    assert load_model(half).strength == 0.5
    assert read_header(half)["fingerprint"] != read_header(smoke_model)["fingerprint"]


@pytest.mark.parametrize("strength", [-0.1, 1.5, "much", None, float("nan")])
def test_a_strength_that_is_none_is_refused(smoke_model: Path, tmp_path: Path, strength: object) -> None:
    def wrong(header: dict, weights: dict) -> None:
        header["strength"] = strength
        header["fingerprint"] = fingerprint_of(weights, header)

    with pytest.raises(ModelError):
        load_model(rewritten(smoke_model, tmp_path / "wrong.safetensors", wrong))


def told_of_noise(**level: object) -> dict[str, Any]:
    even = {"coefficients": [], "low": 1.0, "high": 1.0}
    texture = {"down": ["smoothed", 0.0], "across": ["smoothed", 0.0], "radial": [], "grain": 0.0}
    white = {"knots": [0.0], "sigma": [0.1], "reach": 0, "texture": texture, "skewness": [], "variation": even}
    return {"shares": [0.3, 0.3], "level": {**white, **level}}


@pytest.mark.parametrize(
    ("level", "sound"),
    [
        ({}, True),
        ({"texture": {"down": ["band", 0.5], "across": ["smoothed", 1.2], "radial": [], "grain": 0.02}}, True),
        ({"texture": {"down": ["smoothed", 0.0], "across": ["smoothed", 0.0], "radial": [0.0], "grain": 0}}, False),
        (
            {"texture": {"down": ["smoothed", 0.0], "across": ["smoothed", 0.0], "radial": [0.4, 0.05], "grain": 0}},
            True,
        ),
        (
            {"texture": {"down": ["smoothed", 0.0], "across": ["smoothed", 0.0], "radial": [0.4, 0.0], "grain": 0}},
            False,
        ),
        ({"texture": {"down": ["smoothed", -3.0], "across": ["smoothed", 0.0], "radial": [], "grain": 0}}, False),
        ({"texture": {"down": ["smoothed", 1e9], "across": ["smoothed", 0.0], "radial": [], "grain": 0}}, False),
        ({"texture": {"down": ["band", 0.0], "across": ["smoothed", 0.0], "radial": [], "grain": 0}}, False),
        ({"texture": {"down": ["wavy", 0.1], "across": ["smoothed", 0.0], "radial": [], "grain": 0}}, False),
        ({"variation": {"coefficients": [[0.0, 0.1], [0.1]], "low": 0.5, "high": 2.0}}, False),
        ({"variation": {"coefficients": [[0.0] * 9] * 9, "low": 0.5, "high": 2.0}}, False),
        ({"variation": {"coefficients": [[0.0, 0.1], [0.1, 0.0]], "low": 0.0, "high": 2.0}}, False),
        ({"skewness": [0.1, 0.2]}, False),
        ({"skewness": [float("nan")]}, False),
    ],
)
def test_what_a_header_says_of_noise_is_checked(smoke_model: Path, tmp_path: Path, level: dict, sound: bool) -> None:
    def tell(header: dict, weights: dict) -> None:
        header["second_opinion"] = told_of_noise(**level)
        header["fingerprint"] = fingerprint_of(weights, header)

    told = rewritten(smoke_model, tmp_path / "told.safetensors", tell)
    if sound:
        assert load_model(told).second_opinion is not None
    else:
        with pytest.raises(ModelError, match="makes no sense"):
            load_model(told)


def change_a_weight(header: dict, weights: dict) -> None:
    weights["student.head.weight"] += 1e-3


def change_a_shape(header: dict, weights: dict) -> None:
    weights["student.head.weight"] = torch.zeros(3)


def drop_a_weight(header: dict, weights: dict) -> None:
    del weights["student.head.weight"]


def change_the_scale(header: dict, weights: dict) -> None:
    header["normalisation"]["scale"] = 17.0


def future_format(header: dict, weights: dict) -> None:
    header["format"] = 99


def unknown_setting(header: dict, weights: dict) -> None:
    header["config"]["run_this"] = "rm -rf /"


@pytest.mark.parametrize(
    "change", [change_a_weight, change_a_shape, drop_a_weight, change_the_scale, future_format, unknown_setting]
)
def test_a_changed_model_file_is_refused(smoke_model: Path, tmp_path: Path, change) -> None:
    with pytest.raises(ModelError, match=r"bad\.safetensors"):
        load_model(rewritten(smoke_model, tmp_path / "bad.safetensors", change))


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x80\x02]q\x00.", b"\xff" * 100])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"bad\.safetensors"):
        load_model(path)


def test_a_truncated_model_is_refused(smoke_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(smoke_model.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="damaged"):
        load_model(path)


def test_a_model_that_may_not_be_read_is_not_called_damaged(smoke_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != smoke_model)  # root may read all
    with pytest.raises(ModelError, match="rights forbid it"):
        load_model(smoke_model)


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model"):
        load_model(tmp_path / "none.safetensors")
