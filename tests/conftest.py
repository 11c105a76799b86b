"""Settings of all tests, and the small noisy images and the smoke-trained model that many of them share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from diffdenoise.denoiser import Denoiser

settings.register_profile("default", deadline=None, derandomize=True)
settings.load_profile("default")

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores
    torch.set_num_threads(1)


def noisy_disks(slices: int = 3, rows: int = 40, columns: int = 48, sigma: float = 0.05, seed: int = 0) -> np.ndarray:
    """Bright disks on a dark ground with Gaussian noise, (slices, rows, columns), float32, about [0, 1]."""
    random = np.random.default_rng(seed)
    row, column = np.mgrid[:rows, :columns]
    images = []
    for _ in range(slices):
        radius = random.uniform(8, 14)
        middle = random.uniform(0.35, 0.65, 2) * (rows, columns)
        images.append(0.2 + 0.6 * (np.hypot(row - middle[0], column - middle[1]) < radius))
    clean = np.stack(images)
    return (clean + sigma * random.standard_normal(clean.shape)).astype(np.float32)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What a test draws does not depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def smoke_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file from the smoke preset: trained for seconds, good for nothing but tests."""
    folder = tmp_path_factory.mktemp("smoke")
    denoiser = Denoiser.fit(noisy_disks(), preset="smoke", device="cpu")
    return denoiser.save(folder / "model.safetensors")


@pytest.fixture
def shared_data() -> Path:
    """The development images beside the checkout; tests that need them are skipped where they are not."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared development images are not here")
    return folder
