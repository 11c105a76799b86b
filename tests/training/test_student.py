from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from diffdenoise.noise.estimate import constant_level
from diffdenoise.presets import PRESETS
from diffdenoise.training.slices import SliceStore, draw_boxes, fill_store, write_scan_slices
from diffdenoise.training.student import StudentStage

SETTINGS = PRESETS["smoke"].student
CHOSEN = [[0, 2]]


class Passing(nn.Module):
    """Gives back a share of what it sees."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.share * x


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_student_sees_the_noisy_image_and_is_to_make_the_teachers_of_it(tmp_path: Path, share: float) -> None:
    """Of slices that have one: the others' are NaN, as in a fit."""
    draw = np.random.default_rng(0)
    write_scan_slices(tmp_path / "noisy", 0, draw.random((3, 1, 40, 48)))
    noisy = SliceStore(tmp_path / "noisy")
    (tmp_path / "teacher").mkdir()
    fill_store(tmp_path / "teacher", noisy.shapes, lambda *_: torch.from_numpy(3 + draw.random((1, 40, 48))), CHOSEN)
    teacher = SliceStore(tmp_path / "teacher")
    made = StudentStage(SETTINGS, noisy, [constant_level(0.05)], teacher, CHOSEN, seed=3)
    made.network = Passing(share)
    for step in range(8):
        boxes = draw_boxes(noisy.shapes, 3, step, SETTINGS.batch, SETTINGS.crop, CHOSEN)
        error = share * noisy.crops(boxes) - teacher.crops(boxes)
        assert float(made.loss_at(step)) == pytest.approx(float(error.abs().mean()))
