"""The ablations' own arithmetic, and each study from end to end at a size that is worth nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.ablations import (
    a_sampling,
    c_leak,
    f_student,
    i_kinds,
    j_estimators,
    k_recorruption,
    lab,
    p_texture,
)
from benchmarks.ablations.__main__ import main
from benchmarks.ablations.c_leak import NETWORKS, grid
from benchmarks.ablations.g_score import Mixture, draw, posteriors
from benchmarks.ablations.page import STUDIES, write_page
from benchmarks.measures import kept_by_band
from tests.conftest import noisy_disks


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disks of 32 x 32 pixels instead of brains."""
    disks = np.where(noisy_disks(slices=200, rows=32, columns=32, sigma=0) > 0.5, 0.8, 0).astype(np.float32)
    slices = lambda subject, first, count, step=1: disks[first : first + count * step : step]  # noqa: E731
    for module in (lab, f_student, i_kinds, j_estimators, k_recorruption, p_texture):
        monkeypatch.setattr(module, "slices_of", slices)
    for module in (c_leak, j_estimators):
        monkeypatch.setattr(module, "SHARED", Path("not here"))
    monkeypatch.setattr(a_sampling, "WINDOW", (slice(4, 28), slice(4, 28)))


@pytest.mark.parametrize("letter", STUDIES)
@pytest.mark.usefixtures("small")
def test_a_study_runs_resumes_and_writes_its_part_of_the_page(tmp_path: Path, letter: str) -> None:
    places = {"work": tmp_path / "work", "results": tmp_path / "results", "docs": tmp_path / "docs"}
    main(letter, size="smoke", device="cpu", **places)
    page = (tmp_path / "docs" / "ablations.md").read_text()
    assert f"## {letter}. " in page
    assert (tmp_path / "docs" / "ablations" / f"{letter}.png").stat().st_size > 1000
    record = json.loads((tmp_path / "results" / f"{letter}.json").read_text())
    cells = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("cells/*.json")}
    main(letter, size="smoke", device="cpu", **places)
    assert json.loads((tmp_path / "results" / f"{letter}.json").read_text())["result"] == record["result"]
    assert cells == {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("cells/*.json")}


def test_the_committed_page_is_the_one_that_the_committed_results_make(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    write_page(root / "benchmarks" / "results" / "ablations", tmp_path)
    assert (tmp_path / "ablations.md").read_text() == (root / "docs" / "ablations.md").read_text()


def test_noise_kept_by_band() -> None:
    noise = np.random.default_rng(0).standard_normal((2, 40, 48))
    mask = np.ones(noise.shape, dtype=bool)
    for share in (0.0, 0.3, 1.0):
        for part in kept_by_band(share * noise, noise, mask).values():
            assert part["kept"] == pytest.approx(share)
            assert part["mse"] == pytest.approx(share**2)
    smooth = np.broadcast_to(np.cos(np.arange(48) * 2 * np.pi / 48), noise.shape)
    kept = kept_by_band(smooth, noise, mask)
    assert kept["low"]["mse"] > 1
    assert kept["high"]["mse"] < 1e-20


def test_the_whole_grid_holds_every_network_and_the_small_one_is_part_of_it() -> None:
    whole, small = grid(full=True), grid(full=False)
    assert len(whole) == 2 * 4 * 3 * 4 * 4
    assert {network for _, network, _ in small} == set(NETWORKS)
    assert {(task.name, *rest) for task, *rest in small} <= {(task.name, *rest) for task, *rest in whole}


@pytest.mark.parametrize("tau", [0.05, 0.3])
@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_the_closed_forms_are_those_of_the_samples(tau: float, rho: float) -> None:
    x, n, x_c, _ = draw(tau, rho)
    p, q = posteriors(x_c, tau, rho)
    for posterior, drawn in ((p, x), (q, x + n)):
        off = drawn - posterior.mean()
        for tested in (torch.ones_like(x_c), x_c, x_c**2, x_c**3):  # what the condition can say about it is used up
            assert abs(torch.corrcoef(torch.stack([off, tested]))[0, 1].nan_to_num()) < 0.025
        spread = (posterior.weights * (posterior.variances + posterior.means**2)).sum(1) - posterior.mean() ** 2
        assert off.square().mean().item() == pytest.approx(spread.mean().item(), rel=0.03)


def test_score_and_ideal_network_agree_with_tweedie_and_autograd() -> None:
    mixture = Mixture(
        torch.tensor([[0.3, 0.7]] * 5).double(), torch.tensor([[-1.0, 2.0]] * 5).double(),
        torch.tensor([[0.2, 0.5]] * 5).double(),
    )  # fmt: skip
    z = torch.linspace(-3, 3, 5, dtype=torch.float64, requires_grad=True)
    parts = mixture.weights / (2 * torch.pi * mixture.variances).sqrt()
    density = (parts * torch.exp(-((z[:, None] - mixture.means) ** 2) / (2 * mixture.variances))).sum(1)
    (expected,) = torch.autograd.grad(density.log().sum(), z)
    torch.testing.assert_close(mixture.score(z.detach()), expected)

    abar = torch.tensor(0.4, dtype=torch.float64)
    seen = Mixture(mixture.weights, abar.sqrt() * mixture.means, abar * mixture.variances + 1 - abar)
    x_t = z.detach()
    torch.testing.assert_close(mixture.denoised(x_t, abar), (x_t + (1 - abar) * seen.score(x_t)) / abar.sqrt())
