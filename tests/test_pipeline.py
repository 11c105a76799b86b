"""The fit as a whole: caching, resuming after a kill, budgets."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from diffdenoise import pipeline, settled
from diffdenoise.budget import FEWEST_STEPS
from diffdenoise.errors import ConfigError, RunError, ScanError
from diffdenoise.inference import denoise_slices
from diffdenoise.model_file import load_model, read_header
from diffdenoise.networks.blindness import check_blindness
from diffdenoise.noise.estimate import constant_level
from diffdenoise.pipeline import fit
from diffdenoise.preparation import Source
from diffdenoise.presets import make_config
from diffdenoise.run_folder import discard
from diffdenoise.scans.scan import Scan
from diffdenoise.second_opinion import SecondOpinion, Shares
from diffdenoise.training.diffusion import make_diffusion
from tests.conftest import noisy_disks


def source(seed: int = 0, **shape: int) -> Source:
    return Source(f"disks {seed} {shape}", lambda: Scan(noisy_disks(seed=seed, **shape), "disks", "npy"))


def broken() -> Source:
    def load() -> Scan:
        raise ScanError("bad.png", "is broken", "Mend it.")

    return Source("broken", load)


def fingerprint(run: Path) -> str:
    return read_header(run / "model.safetensors")["fingerprint"]


def stamps(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_finished_fit_does_nothing_and_a_changed_setting_redoes_what_depends_on_it(tmp_path: Path) -> None:
    fit([source()], make_config("smoke"), tmp_path, "cpu")
    before = stamps(tmp_path)
    fit([source()], make_config("smoke"), tmp_path, "cpu")
    after = stamps(tmp_path)
    unchanged = {name for name in before if before[name] == after.get(name)}
    assert {Path(name).name for name in before.keys() - unchanged} <= {"lock", "diffdenoise-run.json"}

    first = fingerprint(tmp_path)
    fit([source()], make_config("smoke", {"student": {"steps": 21}}), tmp_path, "cpu")
    changed = {name for name in before if before[name] != stamps(tmp_path).get(name)}
    assert any("/student/" in name for name in changed)
    assert not any(
        f"/{stage}/" in name for name in changed for stage in ("slices", "blind_spot", "diffusion", "teacher")
    )
    assert fingerprint(tmp_path) != first
    (kept,) = tmp_path.glob("model-*.safetensors")  # results that were made by it name it
    assert load_model(kept).fingerprint() == first


def never(what: str, done: int, total: int) -> None:
    raise AssertionError(what)


def elsewhere(monkeypatch: pytest.MonkeyPatch, device: str, precision: str) -> None:
    """On another machine, as far as a fit can tell that does not come to train."""
    monkeypatch.setattr(pipeline, "choose_device", lambda _: device)
    monkeypatch.setattr(pipeline, "precision", lambda _: precision)


@pytest.mark.parametrize(
    ("preset", "device", "precision"),
    [("smoke", "cpu", "another"), ("smoke", "mps", "32-true"), ("fast", "cuda", "bf16-mixed")],
)
def test_a_finished_fit_does_nothing_on_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str, device: str, precision: str
) -> None:
    wishes = {"student": {"steps": 2, "turns": 1, "second_opinion": False}}
    fit([source()], make_config(preset, wishes, "cpu"), tmp_path, "cpu")
    first = fingerprint(tmp_path)
    elsewhere(monkeypatch, device, precision)
    fit([source()], make_config(preset, wishes, device), tmp_path, device, progress=never)
    assert fingerprint(tmp_path) == first


def test_what_gives_way_to_a_fit_is_told_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def told(source: Source) -> str:
        caplog.clear()
        with pytest.raises(AssertionError), caplog.at_level("INFO", logger="diffdenoise"):
            fit([source], make_config("smoke"), tmp_path, "cpu", progress=never)
        return caplog.text

    assert "trained anew" not in told(source())
    assert "trained anew" not in told(source())  # goes on
    assert "of other scans or settings" in told(source(1))
    elsewhere(monkeypatch, "cpu", "another")
    assert "begun on another kind of machine" in told(source(1))


def test_how_results_are_made_is_no_reason_to_plan_a_training_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="diffdenoise")
    plans = []
    for turns in (1, 2):
        alone = make_config("smoke", {"student": {"learns_from": "recorrupted", "turns": turns, "steps": 21}})
        fit([source()], alone, tmp_path, "cpu", budget=3)
        plans.append((tmp_path / "plan.json").read_text())
    assert plans[0] == plans[1]
    assert "student.steps = 21: does nothing" in caplog.text


def test_the_same_fit_elsewhere_gives_the_same_model(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fit([source()], make_config("smoke"), tmp_path / name, "cpu")
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")


@pytest.mark.parametrize(
    ("stage", "more"),
    [("blind_spot", ""), ("diffusion", ""), ("student", ""), ("student", 'learns_from = "recorrupted"')],
)
def test_killed_in_the_middle_of_a_stage_it_goes_on_to_the_same_result(tmp_path: Path, stage: str, more: str) -> None:
    np.save(tmp_path / "noisy.npy", noisy_disks())
    (tmp_path / "settings.toml").write_text(f"[{stage}]\nsteps = 120\n{more}\n")

    def command(run: str) -> list[str]:
        options = ["-o", str(tmp_path / run), "--preset", "smoke", "--config", str(tmp_path / "settings.toml")]
        return [sys.executable, "-m", "diffdenoise", "fit", str(tmp_path / "noisy.npy"), *options, "--device", "cpu"]

    environment = {**os.environ, "DIFFDENOISE_CHECKPOINT_SECONDS": "0.1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command("killed"), env=environment, stderr=subprocess.DEVNULL)
    checkpoint = tmp_path / "killed" / stage / "last.ckpt"
    waited = time.monotonic()
    while not checkpoint.exists() and process.poll() is None and time.monotonic() - waited < 120:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert checkpoint.exists()
    assert not (tmp_path / "killed" / "model.safetensors").exists()

    for run in ("killed", "undisturbed"):
        subprocess.run(command(run), env=environment, check=True, capture_output=True)
    assert not checkpoint.exists()
    assert fingerprint(tmp_path / "killed") == fingerprint(tmp_path / "undisturbed")


def test_teacher_images_left_undone_are_made_and_the_others_kept(tmp_path: Path) -> None:
    fit([source()], make_config("smoke"), tmp_path, "cpu")
    path = tmp_path / "teacher" / "00000.npy"
    whole = np.load(path)
    half = whole.copy()
    half[1:] = np.nan
    half[0] = 5
    np.save(path, half)
    for name in ("teacher/done", "model/done", "student/done"):
        (tmp_path / name).unlink()
    fit([source()], make_config("smoke"), tmp_path, "cpu")
    again = np.load(path)
    assert (again[0] == 5).all()
    assert np.array_equal(again[1:], whole[1:])


def test_a_budget_becomes_recorded_steps_that_a_second_run_uses(tmp_path: Path) -> None:
    """Its own steps, not the config's, which are fewer than a budget ever gives."""
    config = make_config("smoke", {stage: {"steps": FEWEST_STEPS - 1} for stage in ("blind_spot", "student")})
    trained = fit([source()], config, tmp_path, "cpu", budget=8).model.config
    assert min(trained.blind_spot.steps, trained.student.steps) >= FEWEST_STEPS
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert set(plan["decisions"]) == {"blind_spot 1", "diffusion 1", "teacher 1", "student 1"}
    assert all(plan["decisions"][f"{stage} 1"]["steps"] >= FEWEST_STEPS for stage in ("blind_spot", "student"))
    first = fingerprint(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    fit([source()], config, tmp_path, "cpu", budget=8)
    assert json.loads((tmp_path / "plan.json").read_text()) == plan
    assert fingerprint(tmp_path) == first


def test_a_bad_scan_is_skipped_and_told_each_time(tmp_path: Path) -> None:
    sources = [broken(), source(), source(1, slices=1, rows=60, columns=33)]
    for _ in range(2):
        done = fit(sources, make_config("smoke"), tmp_path, "cpu")
        assert done.skipped == ["bad.png: is broken. Mend it."]
    assert done.model.history["scans"] == 2


def test_an_interrupted_fit_goes_on_with_as_many_threads_as_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []

    def give_way(chosen: int | None) -> int:
        asked.append(chosen)
        return chosen or 5

    monkeypatch.setattr(pipeline, "give_way", give_way)
    first = fit([source()], make_config("smoke"), tmp_path, "cpu").model.fingerprint()
    (tmp_path / "model" / "done").unlink()
    assert fit([source()], make_config("smoke"), tmp_path, "cpu").model.fingerprint() == first
    fit([source()], make_config("smoke", {"seed": 1}), tmp_path, "cpu")
    assert asked == [None, 5, None]


@pytest.mark.parametrize(("others", "told"), [("MR", "CT, MR"), ("CT", "CT"), ("", None)])
def test_the_model_remembers_the_modality_of_its_scans_if_all_say_it(
    tmp_path: Path, others: str, told: str | None
) -> None:
    scans = [Scan(noisy_disks(seed=seed), "a", "dicom", modality=said) for seed, said in enumerate(["CT", others])]
    sources = [Source(str(seed), lambda scan=scan: scan) for seed, scan in enumerate(scans)]
    assert fit(sources, make_config("smoke"), tmp_path, "cpu").model.history.get("modality") == told


def test_a_scan_that_could_not_be_read_for_a_while_is_trained_on_when_it_can(tmp_path: Path) -> None:
    away = [True]

    def load() -> Scan:
        if away[0]:
            raise ScanError("far.png", "cannot be opened", "Mend it.")
        return Scan(noisy_disks(seed=1), "far", "npy")

    sources = [source(), Source("far", load)]
    without = fit(sources, make_config("smoke"), tmp_path, "cpu")
    assert (without.model.history["scans"], len(without.skipped)) == (1, 1)
    away[0] = False
    whole = fit(sources, make_config("smoke"), tmp_path, "cpu")
    assert (whole.model.history["scans"], whole.skipped) == (2, [])
    elsewhere = fit([source(), source(1)], make_config("smoke"), tmp_path / "elsewhere", "cpu")
    assert whole.model.fingerprint() == elsewhere.model.fingerprint()


@pytest.mark.parametrize("most", [2_000, 30_000])
def test_a_full_disk_is_an_error_that_names_the_folder(tmp_path: Path, most: int) -> None:
    """As far as a limit on the size of files is one: of the slices, and of weights."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        with pytest.raises(RunError, match=rf"{re.escape(str(tmp_path))}: cannot be used.*there is room"):
            fit([source()], make_config("smoke"), tmp_path, "cpu")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert fit([source()], make_config("smoke"), tmp_path, "cpu").model.history["scans"] == 1


def test_a_model_file_that_was_damaged_is_made_again(tmp_path: Path) -> None:
    first = fit([source()], make_config("smoke"), tmp_path, "cpu").model.fingerprint()
    model = tmp_path / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-100])
    assert fit([source()], make_config("smoke"), tmp_path, "cpu").model.fingerprint() == first
    assert fingerprint(tmp_path) == first


def test_nothing_but_bad_scans_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match=r"bad\.png: is broken"):
        fit([broken()], make_config("smoke"), tmp_path, "cpu")


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    np.save(tmp_path / "noisy.npy", noisy_disks())
    (tmp_path / "settings.toml").write_text("[blind_spot]\nsteps = 5000\n")
    options = ["-o", str(tmp_path / "run"), "--preset", "smoke", "--config", str(tmp_path / "settings.toml")]
    command = [sys.executable, "-m", "diffdenoise", "fit", str(tmp_path / "noisy.npy"), *options, "--device", "cpu"]
    environment = {**os.environ, "DIFFDENOISE_CHECKPOINT_SECONDS": "0.1", "OMP_NUM_THREADS": "1"}
    listen = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731  a suite in the background has it ignored
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=listen)  # noqa: PLW1509
    checkpoint = tmp_path / "run" / "blind_spot" / "last.ckpt"
    waited = time.monotonic()
    while not checkpoint.exists() and process.poll() is None and time.monotonic() - waited < 120:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "The same command again goes on" in said
    assert "Traceback" not in said


def test_the_published_pipeline_runs(tmp_path: Path) -> None:
    """The paper preset with its own kinds of network, loss, target and averaging, only smaller and shorter."""
    tiny = {"steps": 3, "batch": 1, "crop": 32}
    overrides = {
        "blind_spot": {**tiny, "widths": (8, 8), "blocks": 1},
        "diffusion": {**tiny, "widths": (32, 32), "blocks": 1},
        "teacher": {"steps": 2},
        "student": {**tiny, "width": 8, "encoder": (1,), "middle": 1, "decoder": (1,)},
    }
    done = fit([source()], make_config("paper", overrides), tmp_path, "cpu")
    assert done.model.chain.kind == "image"
    assert not done.model.config.teacher.fuse
    assert np.isfinite(np.load(tmp_path / "teacher" / "00000.npy")).all()


@pytest.mark.parametrize("pooling", ["parity", "global"])
def test_pucas_pooling_reaches_the_network_the_model_file_and_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, pooling: str
) -> None:
    steps = {stage: {"steps": 2} for stage in ("diffusion", "student")}
    spot = {"steps": 2, "network": "puca", "widths": (8, 8), "patch": 1, "pooling": pooling}
    with caplog.at_level("WARNING", logger="diffdenoise"):
        fit([source()], make_config("smoke", {"blind_spot": spot, **steps}), tmp_path, "cpu")
    assert caplog.text.count("Fusing puts that noise back") == (pooling == "global")
    blind_spot = load_model(tmp_path / "model.safetensors").blind_spot
    assert check_blindness(blind_spot).blind == (pooling == "parity")


def test_a_student_without_a_teacher(tmp_path: Path) -> None:
    alone = make_config("smoke", {"student": {"learns_from": "recorrupted", "steps": 150, "learning_rate": 3e-3}})
    model = fit([source()], alone, tmp_path, "cpu").model
    assert set(model.networks()) == {"student"}
    assert {path.name for path in tmp_path.iterdir()} >= {"slices", "student", "model.safetensors"}
    assert not (tmp_path / "blind_spot").exists()
    noisy, clean = noisy_disks(seed=1), noisy_disks(seed=1, sigma=0)
    result = denoise_slices(load_model(tmp_path / "model.safetensors"), noisy).pixels
    assert ((result - clean) ** 2).mean() < 0.5 * ((noisy - clean) ** 2).mean()
    with pytest.raises(ConfigError, match="no diffusion model"):
        denoise_slices(model, noisy, "srds")
    (tmp_path / "model.safetensors").unlink()
    fit([source()], alone, tmp_path, "cpu", budget=3)
    assert set(json.loads((tmp_path / "plan.json").read_text())["decisions"]) == {"student 1"}


def test_what_only_the_use_of_a_model_asks_for_is_settled_and_kept_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = SecondOpinion(Shares(0.5, 1.0), constant_level(0.1))
    monkeypatch.setattr(settled, "second_opinion_of", lambda *_: second)
    left_open = {"learns_from": "recorrupted", "turns": None, "second_opinion": None}
    fit([source()], make_config("smoke", {"student": left_open}), tmp_path, "cpu")
    model = load_model(tmp_path / "model.safetensors")
    assert (model.config.student.turns, model.second_opinion) == (4, second)


def test_a_second_opinion_that_cannot_be_had_is_refused_before_the_training(tmp_path: Path) -> None:
    wishes = {"learns_from": "recorrupted", "series": True, "second_opinion": True}
    with pytest.raises(ConfigError, match="series = false"):
        fit([source()], make_config("smoke", {"student": wishes}), tmp_path, "cpu")
    assert not (tmp_path / "student").exists()


def test_how_a_student_is_used_makes_no_training_of_its_own(tmp_path: Path) -> None:
    alone, written = {"learns_from": "recorrupted"}, []
    for use in (False, True):
        config = make_config("smoke", {"student": {**alone, "turns": 8 if use else 1, "second_opinion": use}})
        assert fit([source()], config, tmp_path, "cpu").model.config.student.turns == (8 if use else 1)
        written.append((tmp_path / "student" / "weights.safetensors").stat().st_mtime_ns)
    assert written[0] == written[1]


def test_other_slices_of_the_teacher_make_another_diffusion(tmp_path: Path) -> None:
    weights = []
    for slices in (1, 2):
        fit([source()], make_config("smoke", {"teacher": {"slices": slices}}), tmp_path, "cpu")
        weights.append((tmp_path / "diffusion" / "weights.safetensors").read_bytes())
    assert weights[0] != weights[1]


def test_slices_with_noise_of_their_own_help_each_other(tmp_path: Path) -> None:
    """The same disks in every slice, each with noise of its own."""
    clean = np.repeat(noisy_disks(slices=1, sigma=0), 16, axis=0)
    noisy = clean + 0.2 * np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    errors = []
    for neighbours in (None, 0):
        alone = {"learns_from": "recorrupted", "steps": 300, "learning_rate": 3e-3, "recorruption": 0.2}
        alone |= {"neighbours": neighbours}
        scan = Source("volume", lambda: Scan(noisy, "volume", "npy"))
        folder = tmp_path / str(neighbours)
        model = fit([scan], make_config("smoke", {"student": alone}), folder, "cpu").model
        assert model.config.student.neighbours == (1 if neighbours is None else 0)
        errors.append(np.square(denoise_slices(load_model(folder / "model.safetensors"), noisy).pixels - clean).mean())
    assert errors[0] < 0.8 * errors[1]


def test_a_training_on_few_pixels_ends_early_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    steps = []
    for visits, budget in ((3, None), (3, 5), (10_000, None)):
        alone = {"learns_from": "recorrupted", "steps": 40, "visits": visits}
        with caplog.at_level("INFO", logger="diffdenoise"):
            model = fit([source()], make_config("smoke", {"student": alone}), tmp_path, "cpu", budget).model
        steps.append((model.config.student.steps, "on so few pixels" in caplog.text))
        caplog.clear()
    assert steps[0] == steps[1]
    assert steps[0][0] < 40
    assert [told for _, told in steps] == [True, True, False]
    assert steps[2][0] == 40


def test_a_masked_background_teaches_it_nothing_wrong(tmp_path: Path) -> None:
    alone = {"learns_from": "recorrupted", "steps": 300, "learning_rate": 3e-3}
    noisy, clean = noisy_disks(slices=6), noisy_disks(slices=6, sigma=0)
    for image in (noisy, clean):
        image[..., :24] = 0
    scan = Source("masked", lambda: Scan(noisy, "masked", "npy"))
    model = fit([scan], make_config("smoke", {"student": alone}), tmp_path, "cpu").model
    result = denoise_slices(model, noisy).pixels
    assert ((result - clean)[..., 24:] ** 2).mean() < 0.5 * ((noisy - clean)[..., 24:] ** 2).mean()
    assert np.abs(result[..., :20]).max() < 0.05


@pytest.mark.parametrize("feedback", ["student", "x_hat"])
def test_rounds_go_on_from_the_first_and_are_kept_in_the_model(tmp_path: Path, feedback: str) -> None:
    settings = {"feedback": feedback}
    for stage in ("blind_spot", "diffusion", "student"):
        settings[stage] = {"steps": 3}
    fit([source()], make_config("smoke", settings), tmp_path, "cpu")
    before = stamps(tmp_path)
    one = fingerprint(tmp_path)
    done = fit([source()], make_config("smoke", {**settings, "rounds": 2}), tmp_path, "cpu")
    first = {name for name in before if any(f"/{stage}/" in name for stage in ("blind_spot", "diffusion", "student"))}
    assert first
    assert all(stamps(tmp_path)[name] == before[name] for name in first)
    assert len(done.model.rounds) == 2
    assert fingerprint(tmp_path) != one
    conditions, known = (np.load(tmp_path / name / "00000.npy") for name in ("condition_2", "known"))
    assert conditions.shape == (3, 1, 40, 48)
    assert not np.allclose(conditions[:, 0], known[:, 0])
    first_weights, second_weights = (part.diffusion.state_dict() for part in done.model.rounds)
    assert any(not torch.equal(first_weights[key], second_weights[key]) for key in first_weights)


def test_averaged_weights_are_those_that_are_kept(tmp_path: Path) -> None:
    """They lag behind those of a training without; of one that is short beside the average they are still trained."""
    for name, ema in (("plain", None), ("averaged", 0.9999)):
        fit([source()], make_config("smoke", {"diffusion": {"ema": ema}}), tmp_path / name, "cpu")
    weights = [load_file(tmp_path / name / "diffusion" / "weights.safetensors") for name in ("plain", "averaged")]
    torch.manual_seed(1)
    start = make_diffusion(make_config("smoke").diffusion).state_dict()
    moved = [sum((part[key] - start[key]).abs().sum().item() for key in start) for part in weights]
    assert 0.3 * moved[0] < moved[1] < moved[0]


def on_second_thoughts(readable: list[bool]) -> Source:
    """A scan that cannot be read before the list says so."""

    def load() -> Scan:
        if not readable:
            raise ScanError("late.npy", "is out of reach", "Wait.")
        return Scan(noisy_disks(seed=5), "late", "npy")

    return Source("late", load)


@pytest.mark.parametrize("killed_at", ["model", "slices"])
def test_a_scan_that_can_be_read_again_is_trained_on_also_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    readable: list[bool] = []
    sources, config = [source(), on_second_thoughts(readable)], make_config("smoke")
    assert fit(sources, config, tmp_path, "cpu").model.history["scans"] == 1
    readable.append(True)

    def killed(artefact: Path) -> None:
        if artefact.name == killed_at:
            raise KeyboardInterrupt
        discard(artefact)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pipeline, "discard", killed)
        fit(sources, config, tmp_path, "cpu")
    again = fit(sources, config, tmp_path, "cpu")
    assert again.model.history["scans"] == 2
    assert again.skipped == []


def test_a_kill_after_the_weights_are_written_costs_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit([source()], make_config("smoke"), tmp_path, "cpu")
    before = (tmp_path / "model.safetensors").read_bytes()
    for artefact in ("student", "model"):
        (tmp_path / artefact / "done").unlink()
    monkeypatch.setattr(pipeline, "train", lambda *_: pytest.fail("trained again"))
    fit([source()], make_config("smoke"), tmp_path, "cpu")
    assert (tmp_path / "model.safetensors").read_bytes() == before
