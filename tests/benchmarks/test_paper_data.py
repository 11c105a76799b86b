"""Small files of the same structure as the paper's data."""

import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from benchmarks.paper_data import PAPER_DATASETS
from benchmarks.tasks import PAPER, load, prepared
from diffdenoise.errors import ConfigError


def volume(path: Path, name: str = "reconstruction_rss", scale: float = 3e-4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(zlib.crc32(path.name.encode())).random((3, 32, 32), dtype=np.float32)
    with h5py.File(path, "w") as file:
        file[name] = scale * pixels
        file["kspace"] = np.zeros((3, 2, 32, 32), np.complex64)


@pytest.fixture
def held(tmp_path: Path) -> Path:
    for part in ("train", "val"):
        for number in range(2):
            volume(tmp_path / f"fastmri_knee/singlecoil_{part}/file{part}{number}.h5", "reconstruction_esc")
            volume(tmp_path / f"fastmri_brain/multicoil_{part}/file_brain_AXT2_{part}{number}.h5")
            volume(tmp_path / f"fastmri_brain/multicoil_{part}/file_brain_AXFLAIR_{part}{number}.h5")
            for contrast, repetitions in (("T1", 3), ("T2", 3), ("FLAIR", 2)):
                for repetition in range(1, repetitions + 1):
                    volume(tmp_path / f"m4raw/multicoil_{part}/20220601{part}{number}_{contrast}0{repetition}.h5")
    images = tmp_path / "covid_xray" / "images"
    images.mkdir(parents=True)
    lines = ["patientid,offset,sex,modality,view,filename"]
    for number in range(10):
        Image.fromarray(np.full((20, 24), 20 * number, np.uint8)).save(images / f"{number}.png")
        modality, view = ("CT", "Axial") if number == 9 else ("X-ray", "L" if number == 8 else "PA")
        lines.append(f'{number // 2},0,M,{modality},{view},"{number}.png"')
    (tmp_path / "covid_xray" / "metadata.csv").write_text("\n".join(lines))
    return tmp_path


@pytest.mark.parametrize("name", PAPER_DATASETS)
def test_each_set_is_split_by_patient(name: str, held: Path) -> None:
    split = PAPER_DATASETS[name](held)
    assert split.train
    assert split.test
    assert not {image.patient for image in split.train} & {image.patient for image in split.test}
    assert all(image.pixels.max() <= 1 for image in split.train + split.test)


def test_only_t2_brains_count(held: Path) -> None:
    assert all("AXT2" in image.patient for image in PAPER_DATASETS["fastmri_brain"](held).train)


def test_only_frontal_radiographs_count(held: Path) -> None:
    split = PAPER_DATASETS["covid_xray"](held)
    assert len(split.train) + len(split.test) == 8


@pytest.mark.parametrize(("contrast", "others"), [("T1", 2), ("FLAIR", 1)])
def test_the_reference_never_holds_the_input(contrast: str, others: int, held: Path) -> None:
    for image in PAPER_DATASETS[f"m4raw {contrast}"](held).test:
        assert len(image.further) == others
        assert not any(np.array_equal(image.pixels, again) for again in image.further)


def test_every_task_of_the_papers_table_can_be_prepared(held: Path, tmp_path: Path) -> None:
    for task in PAPER:
        folder = prepared(task, held, tmp_path / "cache")
        assert load(folder / "noisy" / "train")
        with np.load(folder / "truth.npz") as truth:
            assert truth["reference0"].shape == load(folder / "noisy" / "test")[0].shape


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fastmri_knee"):
        PAPER_DATASETS["fastmri_knee"](tmp_path)
