"""Each method whose package is here: it denoises, keeps shapes, and is a function of its seed."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.methods import METHODS, Given, NotApplicableError, noise2void
from benchmarks.methods.classical import _spectrum, _stabilised
from benchmarks.methods.learned import settings_for
from benchmarks.noises import NOISES
from diffdenoise.model_file import load_model
from diffdenoise.training.start import STARTS, load_start
from diffdenoise.training.student import make_student
from tests.conftest import noisy_disks

NEEDS = {
    "wavelet": "pywt",
    "bm3d": "bm3d",
    "bm3d-true": "bm3d",
    "dipy-nlm": "dipy",
    "mppca": "dipy",
    "n2v": "careamics",
    "n2v-falling": "careamics",
}
NEEDS |= dict.fromkeys(("ne2ne", "r2r", "sure", "unsure"), "deepinv")
SLOW = ("paper", "paper-srds", "supervised-long")  # the preset has tests of its own; ten budgets are ten budgets
SIGMA = 25 / 255


def given_to(name: str, folder: Path, seconds: float = 2.0) -> Given:
    noisy, clean = (noisy_disks(slices=4, sigma=sigma, seed=1) for sigma in (SIGMA, 0))
    told = METHODS[name].told
    work = folder / "work"
    work.mkdir(exist_ok=True)
    noise = NOISES["gaussian-25"] if told == "noise" else None
    return Given([noisy], seconds, "cpu", 0, work, noise, [clean] if told == "clean" else None)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in SLOW])
def test_a_method_takes_noise_off_and_keeps_shapes(name: str, tmp_path: Path) -> None:
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    test = [noisy_disks(slices=2, sigma=SIGMA, seed=2), noisy_disks(slices=1, rows=45, columns=51, sigma=SIGMA, seed=3)]
    clean = [noisy_disks(slices=2, sigma=0, seed=2), noisy_disks(slices=1, rows=45, columns=51, sigma=0, seed=3)]
    try:
        results = METHODS[name].load()(given_to(name, tmp_path))(test)
    except NotApplicableError:
        assert name in ("mppca", "dipy-nlm", "ours-series")  # which want a series, a volume
        return
    assert [result.shape for result in results] == [scan.shape for scan in test]
    assert all(np.isfinite(result).all() for result in results)
    if METHODS[name].family == "classical" and name != "noisy":  # two seconds are too little for what learns
        for result, noisy, wanted in zip(results, test, clean, strict=True):
            assert np.square(result - wanted).mean() < 0.5 * np.square(noisy - wanted).mean()


def test_a_series_is_denoised_as_one(tmp_path: Path) -> None:
    given = given_to("ours-series", tmp_path)
    clean, random = noisy_disks(slices=2, rows=64, columns=64, sigma=0), np.random.default_rng(0)
    frames = [clean + SIGMA * random.standard_normal(clean.shape).astype(np.float32) for _ in range(10)]
    results = METHODS["ours-series"].load()(replace(given, train=frames))(frames)
    assert [result.shape for result in results] == [frame.shape for frame in frames]
    assert np.var(np.stack(results) - clean) < 0.5 * np.var(np.stack(frames) - clean)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_can_be_found(name: str) -> None:
    assert callable(METHODS[name].load())


@pytest.mark.parametrize(("single", "wanted"), [(True, 0), (False, 1)])
def test_where_single_slices_come_the_default_looks_at_no_neighbours(tmp_path: Path, single: bool, wanted: int) -> None:
    clean = np.repeat(noisy_disks(slices=1, sigma=0), 6, axis=0)
    noisy = clean + SIGMA * np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    METHODS["ours"].load()(Given([noisy], 1.0, "cpu", 0, tmp_path / "run", single=single))
    assert load_model(tmp_path / "run" / "model.safetensors").config.student.neighbours == wanted


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_bound_from_our_start_has_the_network_of_the_start(device: str) -> None:
    load_start(make_student(settings_for(device)), STARTS[0])


def test_the_falling_rate_goes_by_an_epoch_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the imports and the setting up that come before the first."""
    schedules, clock = [], iter((0.5, 0.6))

    def trained(*_: object, at_epoch_ends=lambda: None, **further) -> None:  # type: ignore[no-untyped-def]
        if not schedules:
            at_epoch_ends()
            at_epoch_ends()
        schedules.append(further)

    monkeypatch.setattr(noise2void, "_trained", trained)
    monkeypatch.setattr(noise2void, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    noise2void.falling(given_to("n2v-falling", tmp_path, seconds=2.0))
    epochs = np.log(noise2void.LAST) / np.log(schedules[1]["lr_scheduler_params"]["gamma"])
    assert epochs == pytest.approx(19)  # of 0.1 s; with the rest of the first run fewer


def test_noise2self_never_sees_the_pixel_it_predicts(tmp_path: Path) -> None:
    denoise = METHODS["n2self"].load()(given_to("n2self", tmp_path, seconds=0.5))
    image = noisy_disks(slices=1, sigma=SIGMA)
    changed = image.copy()
    changed[0, 20, 21] += 5
    before, after = denoise([image])[0], denoise([changed])[0]
    assert before[0, 20, 21] == after[0, 20, 21]
    assert not np.array_equal(before, after)


@pytest.mark.parametrize("name", ["gaussian-25", "correlated-0.5", "correlated-1.2"])
def test_the_spectrum_told_to_bm3d_is_that_of_the_noise(name: str) -> None:
    told = _spectrum(NOISES[name])
    noise = NOISES[name].add(np.zeros((200, *told.shape), np.float32), 0)
    measured = np.square(np.abs(np.fft.fft2(noise))).mean(0)
    assert told.mean() == pytest.approx(measured.mean(), rel=0.02)
    assert np.corrcoef(told.ravel(), measured.ravel())[0, 1] > 0.9 or name == "gaussian-25"


@pytest.mark.parametrize("name", ["poisson-200", "rician-15", "zero-filled-rician-15"])
def test_the_stabilised_noise_is_as_strong_everywhere_and_comes_back_unbiased(name: str) -> None:
    there, back, sigma = _stabilised(NOISES[name])
    for brightness in (0.2, 0.5, 0.9):
        clean = np.full((1, 300, 300), brightness, np.float32)
        stable = there(NOISES[name].add(clean, 0))
        assert stable.std() == pytest.approx(sigma, rel=0.08)
        assert float(back(np.array([stable.mean()]))[0]) == pytest.approx(brightness, abs=0.01)
