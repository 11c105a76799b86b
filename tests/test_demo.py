import json
from pathlib import Path

import numpy as np
import pytest
import torch

from diffdenoise.demo import TEST, TRAIN, _refuse_foreign, demo_images, run_demo, stages
from diffdenoise.errors import ConfigError, RunError
from diffdenoise.inference import denoise_slices, domain_of
from diffdenoise.model_file import load_model
from diffdenoise.presets import PRESETS
from diffdenoise.rounds import image_seed, predict_blind, sample_slice
from diffdenoise.run_folder import make_run_folder
from tests.conftest import noisy_disks


def test_train_and_test_are_apart_and_only_the_test_has_details() -> None:
    assert TEST["first"] >= TRAIN["first"] + TRAIN["count"] + 5
    block, images, without, detail = demo_images(0.1, 0)
    assert len(block) == TRAIN["count"]
    np.testing.assert_allclose(images["reference"] - without, detail, atol=1e-6)
    assert abs((images["noisy"] - images["reference"]).std() - 0.1) < 0.002


def test_the_demo_makes_a_table_a_picture_and_a_page(tmp_path: Path) -> None:
    made = run_demo(tmp_path / "demo", PRESETS["smoke"], 0.1, "cpu", None, lambda what, done, total: None)
    methods = [row["method"] for row in made.figures]
    assert methods == [
        "noisy", "non-local means", "condition x_c", "one chain", "x_hat (SRDS)", "fused", "student"
    ]  # fmt: skip
    assert all(np.isfinite(value) for row in made.figures for key, value in row.items() if key != "method")
    assert made.picture.read_bytes().startswith(b"\x89PNG")
    assert "not a medical device" in made.page.read_text()
    assert json.loads((tmp_path / "demo" / "table.json").read_text())["figures"] == made.figures
    _refuse_foreign(tmp_path / "demo")  # its own files are in nobody's way


def test_each_stage_of_the_demo_shows_what_it_is_named_after(smoke_model: Path) -> None:
    model, noisy = load_model(smoke_model), noisy_disks(2)
    domain = domain_of(model, noisy)
    x_noisy = torch.from_numpy(domain.into(noisy))[:, None]
    seeds = [image_seed(model.config.seed, image) for image in noisy]
    sampled = sample_slice(model, x_noisy, domain.level, seeds)
    x_c, _ = predict_blind(model.blind_spot, x_noisy)
    tensors = {
        "condition x_c": x_c,
        "one chain": sampled.chain,
        "x_hat (SRDS)": sampled.x_hat,
        "fused": sampled.fused,
    }
    expected = {name: domain.back(tensor[:, 0].numpy()) for name, tensor in tensors.items()}
    expected["student"] = denoise_slices(model, noisy).pixels
    found = stages(model, noisy, "cpu")
    assert list(found) == list(expected)
    for name, image in expected.items():
        np.testing.assert_array_equal(found[name], image)
    assert len({image.tobytes() for image in expected.values()}) == len(expected)


@pytest.mark.parametrize("sigma", [0.0, -0.1, np.nan, np.inf])
def test_a_sigma_that_is_no_level_is_refused(tmp_path: Path, sigma: float) -> None:
    with pytest.raises(ConfigError, match="no noise level"):
        run_demo(tmp_path / "demo", PRESETS["smoke"], sigma, "cpu", None, lambda what, done, total: None)
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("name", ["table.json", "demo.png", "demo.html"])
def test_a_users_file_in_the_way_is_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(ConfigError, match=f"{name}: exists already"):
        run_demo(tmp_path, PRESETS["smoke"], 0.1, "cpu", None, lambda what, done, total: None)
    assert (tmp_path / name).read_text() == "precious"


def test_the_run_of_a_user_is_left_as_it_is(tmp_path: Path) -> None:
    make_run_folder(tmp_path / ".diffdenoise")
    (tmp_path / "table.json").write_text("precious")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=r"holds a run that is no demo's\. Choose another folder with -o"):
        run_demo(tmp_path, PRESETS["smoke"], 0.1, "cpu", None, lambda what, done, total: None)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert (tmp_path / "table.json").read_text() == "precious"


def test_a_demo_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def stopped(_: object, __: object, folder: Path, *___: object) -> None:
        begun.append(make_run_folder(folder))
        raise KeyboardInterrupt

    monkeypatch.setattr("diffdenoise.demo.fit", stopped)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_demo(tmp_path / "demo", PRESETS["smoke"], 0.1, "cpu", None, lambda what, done, total: None)
    assert begun == [tmp_path / "demo" / ".diffdenoise"] * 2


def test_a_demo_needs_a_folder_that_it_can_write_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for output, error in ((tmp_path / "file", ConfigError), (tmp_path / "file" / "demo", RunError)):
        with pytest.raises(error, match=r"file.*-o"):
            run_demo(output, PRESETS["smoke"], 0.1, "cpu", None, lambda what, done, total: None)
