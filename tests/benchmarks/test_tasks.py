from pathlib import Path

import numpy as np
import pytest

from benchmarks.datasets import DATASETS, SEEN, SIGMA, Images, faint, reduced
from benchmarks.scoring import score
from benchmarks.tasks import CORE, FULL, KNOWN, PAPER, Task, load, prepared
from diffdenoise.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Clean scans of three patients, as a user holds them."""
    for number in range(3):
        scan = np.random.default_rng(number).random((2, 40, 48), dtype=np.float32)
        (tmp_path / "scans" / f"patient{number}").mkdir(parents=True)
        np.save(tmp_path / "scans" / f"patient{number}" / "a.npy", scan)
    return tmp_path / "scans"


def test_a_users_own_folder_becomes_a_task(folder: Path, tmp_path: Path) -> None:
    task = prepared(Task(str(folder), "gaussian-25"), tmp_path, tmp_path / "cache")
    train, test, clean = (load(task / part) for part in ("noisy/train", "noisy/test", "clean/train"))
    assert (len(train), len(clean)) == (2, 2)  # the third patient is for testing, with lesions once more
    with np.load(task / "truth.npz") as truth:
        assert list(truth["patients"]) == ["patient2"]
        assert (test[0] - truth["reference0"]).std() == pytest.approx(25 / 255, rel=0.1)
        assert np.allclose(test[1] - test[0], truth["detail0"], atol=1e-6)  # the same noise with and without


def test_transductive_tasks_train_on_what_is_tested(folder: Path, tmp_path: Path) -> None:
    task = prepared(Task(str(folder), "gaussian-25", "transductive"), tmp_path, tmp_path / "cache")
    train, test = load(task / "noisy" / "train"), load(task / "noisy" / "test")
    assert len(train) == 1
    assert np.array_equal(train[0], test[0])
    assert not (task / "clean").exists()


def test_one_patient_alone_is_not_trained_on_unless_asked_for(folder: Path, tmp_path: Path) -> None:
    alone = str(folder / "patient0")
    with pytest.raises(ConfigError, match=r"one patient alone.*--seen"):
        prepared(Task(alone, "gaussian-25"), tmp_path, tmp_path / "cache")
    seen = prepared(Task(alone, "gaussian-25", "transductive"), tmp_path, tmp_path / "cache")
    assert len(load(seen / "noisy" / "train")) == 1


def test_other_files_of_a_user_are_another_task(folder: Path) -> None:
    before = Task(str(folder), "gaussian-25").key
    assert Task(str(folder), "gaussian-25").key == before
    np.save(folder / "patient0" / "b.npy", np.ones((1, 40, 48), dtype=np.float32))
    assert Task(str(folder), "gaussian-25").key != before


def test_faint_blobs_are_as_faint_as_they_say_and_scored_by_an_observer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = np.zeros((1, 160, 128), np.float32)
    clean[:, 20:140, 20:100] = 0.5
    split = faint([Images("another", clean)], clean, 20)
    blobs = split.test[0].pixels[0] - split.test[20].pixels[0]
    for row, column in (place for places in split.inserts.values() for place in places):
        near = blobs[row - 15 : row + 16, column - 15 : column + 16]
        assert np.sqrt(np.square(near).sum()) / SIGMA == pytest.approx(SEEN, rel=0.01)
    monkeypatch.setitem(KNOWN, "colin27 faint", lambda _: split)
    task = prepared(Task("colin27 faint", "gaussian-25"), tmp_path, tmp_path / "cache")
    seen = score(task, task / "noisy" / "test")["observer"]
    assert set(seen) == set(split.inserts)
    for found in seen.values():  # as they are: nothing of their contrast is lost, and most can be told
        assert found["contrast"] == pytest.approx(1, abs=4 * found["false"] / np.sqrt(20))
        assert 0.6 < found["auc"] < 0.95


def test_means_of_pixels_are_less_noisy_and_as_bright() -> None:
    ramp = np.arange(2 * 32 * 31, dtype=np.float32).reshape(2, 32, 31)  # a plane: its means are its middles
    assert np.array_equal(reduced(ramp), ramp[:, 1:30:3, 1:30:3])
    noise = np.random.default_rng(0).normal(size=(1, 300, 300)).astype(np.float32)
    assert reduced(noise).std() == pytest.approx(1 / 3, rel=0.05)


def test_nothing_clean_lies_where_a_method_looks(folder: Path, tmp_path: Path) -> None:
    task = prepared(Task(str(folder), "gaussian-6"), tmp_path, tmp_path / "cache")
    clean = [scan for file in folder.rglob("*.npy") for scan in [np.load(file)]]
    for scan in load(task / "noisy" / "train") + load(task / "noisy" / "test"):
        assert all(np.abs(scan - image / np.quantile(image, 0.999)).std() > 0.01 for image in clean)


def test_names_and_keys_are_unique() -> None:
    tasks = {*CORE, *FULL, *PAPER}
    assert len({task.name for task in tasks}) == len({task.key for task in tasks}) == len(tasks)
    assert len(CORE) == 8
    assert Task("colin27", "gaussian-6", seed=1).key != Task("colin27", "gaussian-6").key


@pytest.mark.shared
@pytest.mark.parametrize("name", DATASETS)
def test_no_patient_is_trained_and_tested_on(name: str, shared_data: Path) -> None:
    split = DATASETS[name](shared_data)
    assert split.test
    assert not {image.patient for image in split.train} & {image.patient for image in split.test}
    for image in split.train + split.test:
        assert image.pixels.dtype == np.float32
        assert image.pixels.ndim == 3
        assert 0.5 < np.quantile(image.pixels, 0.9999) < 3
        assert all(again.shape == image.pixels.shape for again in image.further)
