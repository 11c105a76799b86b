from pathlib import Path

import numpy as np
import pytest

from benchmarks.scoring import score


def scored(folder: Path, reference: np.ndarray) -> dict:  # type: ignore[type-arg]
    noisy = reference + 0.1 * np.random.default_rng(0).normal(size=reference.shape).astype(np.float32)
    for place in (folder / "noisy" / "test", folder / "results"):
        place.mkdir(parents=True)
        np.save(place / "000.npy", noisy)
    inside = np.ones(reference.shape, bool)
    np.savez(folder / "truth.npz", patients=np.array(["a"]), reference0=reference, inside0=inside)
    (figures,) = score(folder, folder / "results")["images"]
    return figures


@pytest.mark.parametrize("uniform", [True, False])
def test_a_figure_that_there_is_not_is_left_out(tmp_path: Path, uniform: bool) -> None:
    reference = np.full((2, 40, 48), 0.7, np.float32)
    if not uniform:
        reference[:, 10:20, 10:20] = 0.8
    figures = scored(tmp_path, reference)
    assert ("hfen" in figures) == (not uniform)
    assert figures["psnr_foreground"] == pytest.approx(20, abs=0.5)
