from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from diffdenoise.model_file import load_model
from diffdenoise.noise.estimate import constant_level
from diffdenoise.rounds import image_seed, predict_blind, sample_slice
from diffdenoise.teacher import Teacher, choose_slices
from diffdenoise.training.slices import SliceStore, fill_store, write_scan_slices
from tests.conftest import noisy_disks


@pytest.mark.parametrize(
    ("counts", "most", "expected"),
    [
        ([3, 2], None, [[0, 1, 2], [0, 1]]),
        ([3, 2], 99, [[0, 1, 2], [0, 1]]),
        ([5], 3, [[0, 2, 4]]),
        ([1, 1, 8], 1, [[0], [], []]),
    ],
)
def test_teacher_slices_are_spread_evenly(counts: list[int], most: int | None, expected: list[list[int]]) -> None:
    assert choose_slices(counts, most) == expected


def test_the_teachers_image_is_the_fused_one_by_the_noise_of_its_own_scan(
    smoke_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that sampling the slice with the finished model gives."""
    monkeypatch.setattr("diffdenoise.teacher.autocast", lambda device: nullcontext())  # sample_slice is not rounded
    model, levels = load_model(smoke_model), [constant_level(0.02), constant_level(0.06)]
    for scan, level in enumerate(levels):
        write_scan_slices(tmp_path / "noisy", scan, noisy_disks(2, sigma=level.typical, seed=scan)[:, None])
    noisy = SliceStore(tmp_path / "noisy")

    def predict(scan: int, index: int) -> torch.Tensor:
        return torch.cat(predict_blind(model.blind_spot, noisy.slice(scan, index)[None]), dim=1)[0]

    (tmp_path / "blind").mkdir()
    fill_store(tmp_path / "blind", [(2, 2, 40, 48), (2, 2, 40, 48)], predict)
    blind = SliceStore(tmp_path / "blind")
    teacher = Teacher(model.rounds[0].diffusion, model.config, 1, model.chain, noisy, blind, blind, levels, "cpu")
    for scan, index in np.ndindex(2, 2):
        x_noisy = noisy.slice(scan, index)[None]
        seeds = [image_seed(model.config.seed, x_noisy.numpy())]
        torch.testing.assert_close(
            teacher.image(scan, index), sample_slice(model, x_noisy, levels[scan], seeds).fused[0]
        )
