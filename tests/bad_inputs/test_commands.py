"""The real command line on bad inputs beside good ones: everything good is finished, everything bad is named."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from diffdenoise.scans.stored import LARGEST
from tests.bad_inputs.catalogue import DEFINED, PIXELS, REFUSED, npy
from tests.conftest import noisy_disks

BAD = [
    "cut-0.9.nii.gz",
    "empty.npy",
    "text.png",
    "nifti-of-terabytes.nii.gz",
    "npy-objects.npy",
    "png-colour-profile-bomb.png",
    "tiff-circle-after-many-directories.tif",
    "nrrd-in-another-file-said-late.nrrd",
    "h5-virtual.h5",
    "dicom-a-billion-frames.dcm",
    "dicom-deflated-bomb.dcm",
    "link-in-a-circle.nii",
    "link-to-nowhere.png",
]
GOOD = [
    "good.npy",
    "a[/b].npy",
    "new\nline.npy",
    os.fsdecode(b"not-text-\xff\xfe.npy"),
    "pixels-constant.npy",
    "pixels-1x1.npy",
]
SMALL = {"pixels-1x1.npy", "pixels-1x9.npy", "pixels-3x3.npy"}


def call(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "diffdenoise", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, timeout=300)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder with inputs of the catalogue that cannot be read, and some that can."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    makers = {entry.name: entry.make for entry in (*REFUSED, *DEFINED)}
    (folder / "a[").mkdir()
    for name in (*BAD, *GOOD):
        makers.get(name, npy)(folder / name)
    np.save(folder / "good.npy", noisy_disks())
    os.mkfifo(folder / "pipe.nii")
    return folder


def check(done: subprocess.CompletedProcess[bytes], out: Path, results: bool) -> None:
    said = done.stderr.decode(errors="replace")
    assert done.returncode == 1, said
    assert "Traceback" not in said
    for name in BAD:
        assert name in said, said
    assert not results or not [name for name in GOOD if not (out / name).exists()]
    assert not [path for path in out.rglob("*") if path.name in BAD]


def test_denoise_finishes_the_good_and_names_the_bad(mixed: Path, smoke_model: Path, tmp_path: Path) -> None:
    check(call("denoise", mixed, "--model", smoke_model, "-o", tmp_path / "out"), tmp_path / "out", results=True)


def test_run_fits_on_the_good_and_names_the_bad(mixed: Path, tmp_path: Path) -> None:
    check(call("run", mixed, "-o", tmp_path / "out", "--preset", "smoke"), tmp_path / "out", results=True)
    assert (tmp_path / "out" / ".diffdenoise" / "model.safetensors").exists()


def test_info_shows_the_good_and_names_the_bad(mixed: Path, tmp_path: Path) -> None:
    done = call("info", mixed)
    check(done, tmp_path / "out", results=False)
    assert b"a[/b].npy" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["denoise", "{long}", "--model", "{model}", "-o", "out"], "cannot be searched"),
        (["denoise", "**x/*.npy", "--model", "{model}", "-o", "out"], "cannot be searched"),
        (["denoise", "pipe.nii", "--model", "{model}", "-o", "out"], "neither a file nor a folder"),
        (["denoise", "{good}", "--model", "{model}", "-o", "/dev/null/out"], "out"),
        (["fit", "{good}", "-o", "/dev/null/out"], "/dev/null"),
        (["fit", "{good}", "-o", "out", "--config", "bomb.toml"], "bomb.toml"),
        (["fit", "{good}", "-o", "out", "--config", "wide.toml"], "memory"),
        (["fit", "{good}", "-o", "out", "--config", "none.toml"], "encoder"),
    ],
)
def test_what_makes_no_sense_is_answered_without_a_traceback(
    arguments: list[str], says: str, smoke_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.nii")
    np.save("good.npy", noisy_disks())
    Path("bomb.toml").write_text("a = " + "[" * 100_000)
    Path("wide.toml").write_text('[student]\nwidth = 1000000000\nstart = "random"')
    Path("none.toml").write_text("[student]\nencoder = []")
    known = {"model": smoke_model, "good": "good.npy", "long": 300 * "x" + ".npy"}
    done = call(*(argument.format(**known) for argument in arguments))
    said = done.stderr.decode(errors="replace")
    assert done.returncode == 1, said
    assert says in said
    assert "Traceback" not in said


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="rights do not bind this user")
def test_what_may_not_be_read_is_named(smoke_model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", noisy_disks())
    np.save(tmp_path / "secret.npy", noisy_disks())
    (tmp_path / "closed").mkdir(mode=0o000)
    (tmp_path / "secret.npy").chmod(0o000)
    for command in (
        ["fit", tmp_path, "-o", tmp_path / "run", "--preset", "smoke"],
        ["denoise", tmp_path, "--model", smoke_model, "-o", tmp_path / "out"],
    ):
        done = call(*command)
        assert done.returncode == 1
        assert b"secret.npy" in done.stderr
        assert b"Traceback" not in done.stderr
    assert (tmp_path / "out" / "good.npy").exists()


@pytest.mark.parametrize("name", PIXELS)
def test_fitting_on_nothing_but_hard_pixels_gives_a_model_unless_they_are_too_few(name: str, tmp_path: Path) -> None:
    from diffdenoise.denoiser import Denoiser
    from diffdenoise.errors import ConfigError
    from diffdenoise.scans.files import find, read_scan

    path = tmp_path / name
    np.save(path, PIXELS[name][0])
    for preset in ("smoke", "fast"):
        steps = {"student": {"steps": 3}} if preset == "fast" else None
        fit = partial(Denoiser.fit, path, preset=preset, device="cpu", overrides=steps)
        if name in SMALL:
            with pytest.raises(ConfigError, match="smaller than 16 pixels"):
                fit()
        else:
            assert np.isfinite(fit().denoise(read_scan(find([path])[0][0])).pixels).all()


@pytest.mark.parametrize("sampler", ["student", "srds"])
@pytest.mark.parametrize("name", PIXELS)
def test_hard_pixels_are_denoised_to_finite_ones_within_their_range(
    name: str, sampler: str, smoke_model: Path, tmp_path: Path
) -> None:
    from diffdenoise.batch import Wanted, denoise_scans
    from diffdenoise.denoiser import Denoiser
    from diffdenoise.scans.files import find

    stack = PIXELS[name][0]
    np.save(tmp_path / name, stack)
    found, _ = find([tmp_path / name])
    wanted = Wanted(sampler, removed=True)  # type: ignore[arg-type]
    outcome = denoise_scans(Denoiser.load(smoke_model), found, tmp_path / "out", wanted, lambda *_: None)
    assert not outcome.failed
    result = np.load(tmp_path / "out" / name)
    assert result.shape == stack.shape
    assert result.dtype == stack.dtype
    with np.errstate(over="ignore"):
        usable = np.abs(stack.astype(np.float64)) <= LARGEST
    assert np.array_equal(result[~usable], stack[~usable], equal_nan=True)
    if usable.any():
        low, high = stack[usable].min(), stack[usable].max()
        assert min(low, 0) <= result[usable].min() <= result[usable].max() <= max(high, 0)
    if np.ptp(stack[usable]) == 0 if usable.any() else True:
        assert np.array_equal(result, stack, equal_nan=True)
