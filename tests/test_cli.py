import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.table import Table

from diffdenoise.batch import Outcome, Wanted
from diffdenoise.cli import main
from diffdenoise.config import Config
from diffdenoise.demo import Demo
from diffdenoise.errors import RunError
from diffdenoise.model_file import load_model
from diffdenoise.pipeline import Fit
from diffdenoise.run_folder import make_run_folder
from tests.conftest import noisy_disks
from tests.scans.dicom_checks import no_image, series

WRITTEN = ("removed", "spread", "uncertainty")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return int(stop.value.code or 0), said.out, said.err


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(2):
        np.save(folder / f"{number}.npy", noisy_disks(seed=number))
    return folder


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom diffdenoise.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'monai', 'pytorch_lightning', 'pydantic', 'pydicom', 'pynetdicom'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("run", "fit", "denoise", "evaluate", "info", "demo", "serve", "clean"):
        assert command in done.stdout


def test_denoise_writes_what_is_asked_for_and_then_has_nothing_to_do(
    scans: Path, smoke_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["denoise", scans, "--model", smoke_model, "-o", out]
    command += ["--spread", "--removed", "--uncertainty"]
    status, said, _ = run(capsys, *command)
    assert status == 0
    assert "Wrote 8" in said
    noisy, denoised, removed, spread, uncertainty = (
        np.load(folder / name)
        for folder, names in [(scans, ["0.npy"]), (out, ["0.npy", *(f"0_{name}.npy" for name in WRITTEN)])]
        for name in names
    )
    np.testing.assert_allclose(noisy - denoised, removed, atol=1e-6)
    assert (spread >= 0).all()
    assert (uncertainty > 0).all()
    sidecar = json.loads((out / "0.npy.json").read_text())
    assert sidecar["settings"]["sampler"] == "student"
    assert sidecar["model"]
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    status, said, _ = run(capsys, *command)
    assert status == 0
    assert "2 already there" in said
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_the_next_command_can_be_copied_whatever_the_folder_is_called(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said, _ = run(capsys, "run", scans, "-o", tmp_path / "my results", "--preset", "smoke")
    assert status == 0
    assert f"--model '{tmp_path / 'my results'}'" in said


def test_half_the_strength_removes_half_and_is_recorded_only_where_it_is_not_full(
    scans: Path, smoke_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["denoise", scans, "--model", smoke_model, "--removed", "-o"]
    assert run(capsys, *command, tmp_path / "full")[0] == 0
    assert run(capsys, *command, tmp_path / "half", "--strength", "0.5")[0] == 0
    status, said, _ = run(capsys, *command, tmp_path / "full", "--strength", "1")
    assert (status, "2 already there" in said) == (0, True)
    full, half = (np.load(tmp_path / name / "0_removed.npy") for name in ("full", "half"))
    np.testing.assert_allclose(half, full / 2, atol=1e-6)
    np.testing.assert_allclose(np.load(tmp_path / "half" / "0.npy") + half, np.load(scans / "0.npy"), atol=1e-6)
    settings = [json.loads((tmp_path / name / "0.npy.json").read_text())["settings"] for name in ("full", "half")]
    assert "strength" not in settings[0]
    assert settings[1] == {**settings[0], "strength": 0.5}


def test_one_bad_file_does_not_stop_the_others(
    scans: Path, smoke_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scans / "bad.npy").write_bytes(b"not an array")
    status, _, said = run(capsys, "denoise", scans, "--model", smoke_model, "-o", tmp_path / "out")
    assert status == 1
    assert "bad.npy" in said
    assert (tmp_path / "out" / "0.npy").exists()
    assert (tmp_path / "out" / "1.npy").exists()
    assert not (tmp_path / "out" / "bad.npy").exists()


def test_what_lies_in_a_study_beside_the_images_is_told_and_is_no_failure(
    smoke_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = series(tmp_path / "study" / "t1", {"a": 0, "b": 1}).parent
    for number in range(5):
        no_image(study / "sr" / str(number), "1.2.840.10008.5.1.4.1.1.88.67")
    command = ["--model", smoke_model, "-o", tmp_path / "out"]
    status, said, errors = run(capsys, "denoise", study, *command)
    assert status == 0
    assert "diffdenoise:" not in errors
    assert "Wrote 1" in said
    assert "sr/2 and 2 more: is no image, but a DICOM object of another kind (X-Ray Radiation Dose SR)." in said
    (study / "t1" / "broken.dcm").write_bytes(b"junk")
    status, said, errors = run(capsys, "denoise", study, *command)
    assert status == 1
    assert "Left alone" in said
    assert "broken.dcm" in errors
    status, _, errors = run(capsys, "denoise", study / "sr" / "0", *command)
    assert status == 1
    assert "another kind" in errors
    status, said, _ = run(capsys, "info", study / "sr")
    assert status == 1


def test_a_users_file_in_the_way_is_not_overwritten(
    scans: Path, smoke_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "0.npy").write_text("precious")
    status, _, said = run(capsys, "denoise", scans, "--model", smoke_model, "-o", out)
    assert status == 1
    assert "0.npy" in said
    assert (out / "0.npy").read_text() == "precious"
    status, _, _ = run(capsys, "denoise", scans, "--model", smoke_model, "-o", scans)
    assert status == 1
    (out / "1.npy").rename(tmp_path / "of-1.npy")
    status, _, said = run(capsys, "run", scans, "-o", out, "--preset", "smoke")
    assert status == 1
    assert "0.npy" in said
    assert (out / "1.npy").exists()  # one that is in the way stops no other
    (tmp_path / "taken").mkdir()
    for name in ("0.npy", "1.npy"):
        (tmp_path / "taken" / name).write_text("precious")
    assert run(capsys, "run", scans, "-o", tmp_path / "taken", "--preset", "smoke")[0] == 1
    assert not (tmp_path / "taken" / ".diffdenoise").exists()  # found out before the training, not after
    assert np.array_equal(np.load(scans / "1.npy"), noisy_disks(seed=1))


def test_run_then_info_evaluate_and_clean(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(capsys, "run", scans, "-o", out, "--preset", "smoke", "--device", "cpu")[0] == 0
    status, said, _ = run(capsys, "info", out)
    assert status == 0
    assert "smoke, seed 0" in said
    status, said, _ = run(capsys, "info", scans)
    assert status == 0
    assert "3 x 40 x 48" in said
    levels = [float(level) for level in re.findall(r"noise level +(\S+)", said)]
    assert levels == pytest.approx(2 * [0.05], rel=0.2)
    assert "3 x 40 x 48" in run(capsys, "info", out / "0.npy", "--json", tmp_path / "i.json")[1]  # a result, named
    assert json.loads((tmp_path / "i.json").read_text())["scans"][0]["shape"] == [3, 40, 48]
    clean_images = tmp_path / "clean"
    clean_images.mkdir()
    for number in range(2):
        np.save(clean_images / f"{number}.npy", noisy_disks(seed=number, sigma=0))
    figures = tmp_path / "figures.json"
    status, said, _ = run(
        capsys,
        "evaluate",
        out,
        "--reference",
        clean_images,
        "--noisy",
        scans,
        "--data-range",
        "unit",
        "--json",
        figures,
    )
    assert status == 0
    assert "mean" in said
    rows = json.loads(figures.read_text())["scans"]
    assert len(rows) == 2
    assert rows[0]["noisy_psnr"] == pytest.approx(-20 * np.log10(0.05), abs=0.3)
    assert "psnr" in rows[0]
    status, said, _ = run(capsys, "clean", out)
    assert status == 0
    assert re.search(r"out: freed \S+ MB", said)
    assert not (out / ".diffdenoise" / "slices").exists()
    assert run(capsys, "denoise", scans, "--model", out, "-o", tmp_path / "again")[0] == 0


def test_a_pipe_has_no_width_and_cuts_no_name(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, figures = f"{'long' * 40}.npy", tmp_path / "figures.json"
    (scans / "1.npy").rename(scans / name)
    assert name in run(capsys, "evaluate", scans, "--reference", scans)[1]
    clean = tmp_path / "clean"
    clean.mkdir()
    np.save(clean / "other.npy", noisy_disks(sigma=0))
    status, said, errors = run(capsys, "evaluate", scans, "--reference", clean, "--json", figures)
    assert (status, said) == (1, "")
    assert len(errors.splitlines()) == 1  # both have the same fault
    assert len(json.loads(figures.read_text())["errors"]) == 2


def test_a_second_opinion_that_is_named_is_given_though_it_takes_longer_than_the_training(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "settings.toml").write_text("[student]\nsteps = 2\nturns = 1\n")
    command = ["run", scans, "-o", tmp_path / "out", "--config", tmp_path / "settings.toml", "--device", "cpu"]
    assert run(capsys, *command, "--sampler", "second_opinion")[0] == 0
    assert (tmp_path / "out" / "0.npy").exists()


@pytest.mark.parametrize("command", ["fit", "run"])
@pytest.mark.parametrize(
    ("arguments", "settings", "expected"),
    [
        (["--sigma", "0.05"], "", {"sigma": 0.05, "counts": None, "seed": 0}),
        (["--counts", "300"], "", {"sigma": None, "counts": 300.0, "seed": 0}),
        ([], "seed = 7", {"seed": 7}),
        (["--seed", "3"], "seed = 7", {"seed": 3}),
        (["--seed", "0"], "seed = 7", {"seed": 0}),
    ],
)
def test_what_is_told_is_what_is_fitted_with(
    command: str,
    arguments: list[str],
    settings: str,
    expected: dict,
    scans: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A seed in the settings counts unless another is given."""
    configs: list[Config] = []
    monkeypatch.setattr("diffdenoise.pipeline.fit", lambda sources, config, *_: configs.append(config) or _leave())
    (tmp_path / "settings.toml").write_text(settings)
    told = ["-o", tmp_path / "out", "--preset", "smoke", "--config", tmp_path / "settings.toml", *arguments]
    assert run(capsys, command, scans, *told)[0] == 1
    assert [config.model_dump(include=set(expected)) for config in configs] == [expected]


def _leave() -> None:
    raise RunError("Enough was seen.")


@pytest.mark.parametrize("command", ["fit", "run"])
def test_budget_and_device_reach_the_fit(
    command: str, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[Any, ...]] = []
    monkeypatch.setattr("diffdenoise.pipeline.fit", lambda *given: told.append(given) or _leave())
    run(capsys, command, scans, "-o", tmp_path / "out", "--budget", "2m", "--device", "cpu")
    ((_, config, _, device, seconds, _),) = told
    assert (config.preset, device, seconds) == ("fast", "cpu", 120)


ALL = ["--uncertainty", "--removed", "--strength", "0.7", "--seed", "4"]


@pytest.mark.parametrize(
    ("options", "preset", "wanted"),
    [
        ([], "fast", Wanted()),
        (["--sampler", "srds"], "cpu", Wanted("srds")),
        (["--spread"], "cpu", Wanted(spread=True)),
        (ALL, "fast", Wanted("auto", 4, removed=True, uncertainty=True, strength=0.7)),
    ],
)
def test_what_is_wanted_of_a_run_chooses_its_preset_and_reaches_the_results(
    options: list[str],
    preset: str,
    wanted: Wanted,
    scans: Path,
    smoke_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    presets: list[str] = []
    asked: list[Wanted] = []
    fitted = Fit(load_model(smoke_model), [])
    monkeypatch.setattr("diffdenoise.pipeline.fit", lambda _, config, *__: presets.append(config.preset) or fitted)
    monkeypatch.setattr("diffdenoise.batch.denoise_scans", lambda *given: asked.append(given[3]) or Outcome())
    assert run(capsys, "run", scans, "-o", tmp_path / "out", "--device", "cpu", *options)[0] == 0
    assert run(capsys, "denoise", scans, "--model", smoke_model, "-o", tmp_path / "out", *options)[0] == 0
    assert (presets, asked) == ([preset], [wanted, wanted])


def test_the_demo_is_told_what_the_command_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple] = []

    def run_demo(*given: Any) -> Demo:
        told.append(given)
        return Demo([], Table("method"), tmp_path / "demo.png", tmp_path / "demo.html")

    monkeypatch.setattr("diffdenoise.demo.run_demo", run_demo)
    options = ["-o", tmp_path, "--sigma", 15, "--seed", 3, "--device", "cpu", "--budget", "2m"]
    status, said, _ = run(capsys, "demo", *options)
    assert status == 0
    assert f"Picture: {tmp_path / 'demo.png'}" in said
    assert f"Page: {tmp_path / 'demo.html'}" in said
    ((output, config, sigma, device, seconds, _),) = told
    assert (output, sigma, device, seconds) == (tmp_path, pytest.approx(15 / 255), "cpu", 120)
    assert (config.preset, config.seed) == ("cpu", 3)  # not "fast": it shows all stages


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["denoise", "nothing", "--model", "none", "-o", "out"], "nothing: does not exist"),
        (["info", "nothing"], "does not exist"),
        (["info", "{scans}", "--json", "{scans}"], "--json {scans}: cannot be written"),
        (["clean", "."], "no diffdenoise run in this folder. Name the one that was given as -o"),
        (
            ["fit", "{scans}", "-o", "out", "--config", "{settings}"],
            "settings.toml: These settings make no sense: sigma =",
        ),
        (["fit", "{scans}", "-o", "out", "--budget", "soon"], "budget"),
        (["denoise", "{scans}", "--model", "none.safetensors", "-o", "out"], "no such model"),
        (["evaluate", "{scans}", "--reference", "nothing"], "does not exist"),
        (["evaluate", "{scans}", "--reference", "{scans}", "--json", "nowhere/f.json"], "its folder is not there"),
        (["evaluate", "{scans}", "--reference", "nothing", "--json", "{scans}"], "cannot be written (Is a directory)"),
        (["denoise", "{scans}", "--model", "none", "-o", "clean.nii.gz"], "clean.nii.gz: is named like a file; -o"),
        (["fit", "{scans}", "-o", "model.safetensors"], "model.safetensors: is named like a file; -o names a folder"),
        (["run", "{scans}", "-o", "out", "--preset", "fast", "--spread"], "no diffusion model"),
        (["run", "{scans}", "-o", "out", "--preset", "smoke", "--sampler", "second_opinion"], "no second opinion"),
        (["denoise", "{scans}", "--model", "none", "-o", "out", "--strength", "0"], "strength is more than 0"),
        (["run", "{scans}", "-o", "out", "--strength", "1.5"], "at most 1, not 1.5"),
        (["serve", "--forward", "ARCHIVE@localhost:104"], "name one, in the rule"),
        (["serve", "--forward", "ARCHIVE@localhost:104", "--model", "none.safetensors"], "no model file none"),
        (["serve", "--forward", "localhost:104", "--model", "none.safetensors"], "TITLE@host:port"),
    ],
)
def test_mistakes_are_answered_without_a_traceback(
    arguments: list[str], said: str, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = tmp_path / "settings.toml"
    settings.write_text("sigma = -1")
    status, told, errors = run(capsys, *(argument.format(scans=scans, settings=settings) for argument in arguments))
    assert (status, told) == (1, "")  # before any work
    assert said.format(scans=scans) in " ".join(errors.split())
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["run", "a.nii"],
            "run: --output or -o is missing. Folder for the results. For example: diffdenoise run SCANS",
        ),
        (["fit", "-o", "out"], "fit: SCANS is missing. "),
        (["denoise", "a.nii", "-o", "out"], "denoise: --model is missing. "),
        (["run", "a.nii", "--output"], "run: --output needs a value. "),
        (["run", "a.nii", "-o", "out", "--budgte", "3m"], "Unknown option: --budgte. Did you mean --budget?"),
        (["run", "a.nii", "-o", "out", "--sigma", "-1"], 'Invalid value "-1.0" for --sigma. Must be > 0.'),
        (["run", "a.nii", "-o", "out", "--sigma", "nan"], 'Invalid value "nan" for --sigma. Must be > 0.'),
        (["fit", "a.nii", "-o", "out", "--seed", "-1"], 'Invalid value "-1" for --seed. Must be >= 0.'),
        (["fit", "a.nii", "-o", "out", "--counts", "0"], 'Invalid value "0.0" for --counts. Must be > 0.'),
    ],
)
def test_a_command_line_that_makes_no_sense_is_answered_in_a_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, errors = run(capsys, *arguments)
    assert status == 2
    assert errors.startswith(f"diffdenoise: {said}")
    assert errors.count("\n") == 1


def test_each_command_has_an_example_of_its_own() -> None:
    from diffdenoise.cli import app
    from diffdenoise.options import EXAMPLES

    assert set(EXAMPLES) == {name for name in app if not name.startswith("-")}
    for name, example in EXAMPLES.items():
        app.parse_args(example.removeprefix("diffdenoise ").split(), exit_on_error=False, print_error=False)
        assert example.startswith(f"diffdenoise {name} ")


def test_options_that_are_no_settings_are_known_to_the_settings() -> None:
    from inspect import signature

    from diffdenoise.cli import denoise, fit
    from diffdenoise.cli import run as run_command
    from diffdenoise.config import OPTIONS

    options = {name for command in (run_command, fit, denoise) for name in signature(command).parameters}
    assert set(OPTIONS) == options - {"scans", *Config.model_fields}


def test_several_folders_are_cleaned_though_one_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [make_run_folder(tmp_path / name) for name in ("a", "b")]
    for folder in runs:
        (folder / "slices").mkdir()
    status, said, errors = run(capsys, "clean", runs[0], tmp_path / "none", runs[1])
    assert status == 1
    assert not any((folder / "slices").exists() for folder in runs)
    assert said.count("freed") == 2
    assert "none: there is no diffdenoise run" in errors


@pytest.mark.parametrize(
    ("settings", "said"),
    [("", "Preset fast: the student alone.\n"), ("[blind_spot]\npatch = 3\n", "It is taken because of blind_spot in")],
)
def test_a_fit_tells_its_preset(
    settings: str,
    said: str,
    scans: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("diffdenoise.pipeline.fit", lambda *_: _leave())
    (tmp_path / "settings.toml").write_text(settings)
    _, _, errors = run(capsys, "fit", scans, "-o", tmp_path / "out", "--config", tmp_path / "settings.toml")
    assert said in errors


def test_ctrl_c_during_the_heavy_imports_is_answered_in_words(scans: Path, tmp_path: Path) -> None:
    program = (  # PyTorch's own initialisation is what the signal comes into
        "import os, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch': os.kill(os.getpid(), signal.SIGINT)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from diffdenoise.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print('pipeline' if 'diffdenoise.pipeline' in sys.modules else 'half')"
    )
    command = [sys.executable, "-c", program, "fit", str(scans), "-o", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert "the same command again goes on" in done.stderr.lower()
    assert "Traceback" not in done.stderr
    assert done.stdout == "pipeline\n"  # it was imported whole


def test_the_command_line_offers_the_presets_there_are() -> None:
    from typing import get_args

    from diffdenoise.cli import Preset
    from diffdenoise.presets import PRESETS

    choices = get_args(get_args(get_args(Preset)[0])[0])
    assert set(choices) == set(PRESETS)


def test_the_command_line_offers_the_samplers_there_are() -> None:
    from typing import get_args

    from diffdenoise.cli import SamplerChoice
    from diffdenoise.inference import Sampler

    assert get_args(get_args(SamplerChoice)[0]) == get_args(Sampler)


def test_info_tells_whether_the_frames_of_a_series_help(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    once, random = noisy_disks(slices=3, rows=64, columns=64, sigma=0), np.random.default_rng(0)
    frames = once + 0.05 * random.standard_normal((5, *once.shape)).astype(np.float32)
    unlike = np.stack([np.roll(frame, 30 * number, axis=(1, 2)) for number, frame in enumerate(frames)])
    for given, words in ((frames, "help one another"), (unlike, "do not help one another")):
        np.save(tmp_path / "series.npy", given)
        status, said, _ = run(capsys, "info", tmp_path / "series.npy")
        assert status == 0
        assert re.search(rf"frames +{words}", said)
