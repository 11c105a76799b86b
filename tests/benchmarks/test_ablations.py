"""The ablations' own arithmetic, and each study from end to end at a size that is worth nothing."""

import json
from pathlib import Path
from types import SimpleNamespace

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
    m_uncertainty,
    p_texture,
    s_second_opinion,
    u_unlike,
    v_rays,
)
from benchmarks.ablations.__main__ import main
from benchmarks.ablations.c_leak import NETWORKS, grid
from benchmarks.ablations.g_score import Mixture, draw, posteriors
from benchmarks.ablations.i_kinds import KindTask
from benchmarks.ablations.page import STUDIES, save, write_page
from benchmarks.measures import kept_by_band
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.teacher import choose_slices
from tests.conftest import noisy_disks


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disks of 32 x 32 pixels instead of brains."""
    disks = np.where(noisy_disks(slices=200, rows=32, columns=32, sigma=0) > 0.5, 0.8, 0).astype(np.float32)
    slices = lambda subject, first, count, step=1: disks[first : first + count * step : step]  # noqa: E731
    for module in (
        lab,
        f_student,
        i_kinds,
        j_estimators,
        k_recorruption,
        p_texture,
        s_second_opinion,
        u_unlike,
        v_rays,
    ):
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


@pytest.mark.parametrize("size", ["cpu", "gpu"])
def test_the_student_is_held_against_slices_that_it_was_taught(size: str) -> None:
    (taught,) = choose_slices([lab.TRAIN["count"]], lab.SIZES[size].teacher_slices)
    assert set(f_student.SLICES) <= set(taught)


def test_a_student_that_learned_its_targets_by_heart_keeps_all_of_the_samplers_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So its figure can be other than 0; the targets are the draws of `Lab.student`, those of the default seed."""
    clean = np.where(noisy_disks(slices=60, rows=32, columns=32, sigma=0) > 0.5, 0.8, 0.1).astype(np.float32)
    monkeypatch.setattr(f_student, "slices_of", lambda *_, **__: clean)

    def draw_of(sampler: object, teacher: object, index: int, seed: int = 0) -> SimpleNamespace:
        random = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(1000 * seed + index))
        image = torch.from_numpy(clean[index])[None, None] + 0.1 * random
        return SimpleNamespace(x_hat=image, chain=image)

    by_heart = torch.cat([draw_of(None, None, index).x_hat for index in f_student.SLICES])
    monkeypatch.setattr(f_student, "apply_student", lambda student, x: by_heart)
    noisy = clean + 0.1 * np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    task = SimpleNamespace(subject="disks", noisy=(noisy, noisy), psnr=lambda image: 0.0)
    blind = SimpleNamespace(task=task, x_noisy=by_heart)
    sampler = SimpleNamespace(blind=blind, test=lambda steps: SimpleNamespace(chain=by_heart, x_hat=by_heart))
    fake = SimpleNamespace(on_training_slice=draw_of, student=lambda *_, **__: None, device="cpu")
    rows = f_student.measure(fake, sampler, "x_hat", seeds=16)  # type: ignore[arg-type]
    assert [row["chance_kept"] for row in rows] == pytest.approx([1] * 4, abs=0.1)


@pytest.mark.usefixtures("small")
def test_the_mean_of_rician_noise_has_no_noise_of_its_own() -> None:
    task = KindTask(kind=i_kinds.RICIAN)
    generator, clean = torch.Generator().manual_seed(0), torch.from_numpy(task.clean)
    for brightness in (task.clean.min(), task.clean.max()):
        place = task.clean == brightness
        assert np.ptp(task.wanted[place]) == 0
        drawn = np.stack([i_kinds.KINDS[task.kind](clean, generator).numpy()[place] for _ in range(50)])
        assert task.wanted[place][0] == pytest.approx(drawn.mean(), abs=4 * drawn.std() / np.sqrt(drawn.size))


def test_a_level_that_is_right_reads_1_where_it_varies(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = np.zeros((1, 200, 200), np.float32)
    clean[:, 20:180, 20:100], clean[:, 20:180, 100:180] = 1000, 1200  # both count as the object
    sigma, random = np.where(clean > 1100, 9, 3), np.random.default_rng(0)
    a, b = (clean + sigma * random.standard_normal(clean.shape) for _ in range(2))
    monkeypatch.setattr(j_estimators, "repeated", lambda: [("phantom", a, b)])
    level = NoiseLevel((1099.0, 1101.0), (3.0, 9.0))
    monkeypatch.setattr(j_estimators, "estimate_noise", lambda *_, **__: level)
    assert j_estimators.pairs()["rows"]["phantom"] == pytest.approx([1] * 3, rel=0.04)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("task", [lab.Task(), KindTask(kind=i_kinds.RICIAN)])
def test_other_slices_get_the_noise_of_the_tasks_own(task: lab.Task) -> None:
    own = task.raw if isinstance(task, KindTask) else task.noisy
    assert np.array_equal(task.noisy_of(task.clean), own[1])


@pytest.mark.usefixtures("small")
def test_details_are_inserted_before_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts with details in them are whole counts."""
    seen: list[np.ndarray] = []
    denoised = lambda model, scan, device: seen.append(scan) or SimpleNamespace(pixels=scan)  # noqa: E731
    monkeypatch.setattr(m_uncertainty, "denoise_slices", denoised)
    monkeypatch.setattr(m_uncertainty, "uncertainty_of", lambda model, scan, device: np.ones_like(scan))
    task = KindTask(kind="poisson, 100 counts")
    m_uncertainty._details(SimpleNamespace(device="cpu"), None, task)  # type: ignore[arg-type]
    np.testing.assert_allclose(100 * seen[0], np.round(100 * seen[0]), atol=1e-3)
    assert not np.array_equal(seen[0], task.raw[1])


def test_a_run_that_measured_nothing_keeps_the_date(tmp_path: Path) -> None:
    made = {"size": "cpu", "commit": "a", "date": "2030-01-01"}
    kept = lambda: json.loads((tmp_path / "x.json").read_text())  # noqa: E731
    save(tmp_path, "x", {**made, "result": {"figure": float("nan")}}, 1)
    save(tmp_path, "x", {**made, "date": "2030-01-02", "result": {"figure": float("nan")}}, 1)
    assert (kept()["date"], kept()["seconds"]) == ("2030-01-01", 2)
    save(tmp_path, "x", {**made, "date": "2030-01-03", "result": {"figure": 2}}, 1)
    assert kept()["date"] == "2030-01-03"
