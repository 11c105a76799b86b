import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.errors import RunError
from diffdenoise.noise.estimate import constant_level
from diffdenoise.presets import PRESETS
from diffdenoise.training.blind_spot import BlindSpotStage, make_blind_spot, mean_and_variance
from diffdenoise.training.diffusion import DiffusionStage, make_diffusion
from diffdenoise.training.pace import Pace
from diffdenoise.training.recorrupted import RecorruptedStage
from diffdenoise.training.slices import SliceStore, write_scan_slices
from diffdenoise.training.stage import Batch, Stage, generator_of, pixel_loss, train
from diffdenoise.training.student import StudentStage, make_student
from tests.conftest import noisy_disks

SMOKE = PRESETS["smoke"]


@pytest.fixture
def noisy(tmp_path: Path) -> SliceStore:
    write_scan_slices(tmp_path / "noisy", 0, noisy_disks()[:, None])
    return SliceStore(tmp_path / "noisy")


def gradient(network: nn.Module, inputs: tuple[torch.Tensor, ...], bf16: bool) -> torch.Tensor:
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        output = network(*inputs).float()
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(9))
    (output * weights).sum().backward()
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None])


@pytest.mark.parametrize("preset", ["smoke", "cpu", "gpu", "fast"])
@pytest.mark.parametrize("stage", ["blind_spot", "diffusion", "student", "student of volumes"])
def test_bf16_gradients_agree_with_fp32(preset: str, stage: str) -> None:
    """With some channel counts bf16 convolutions on a CPU give wrong weight gradients, silently."""
    config = PRESETS[preset]
    torch.manual_seed(0)
    images = torch.rand(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    image = images[:, :1].contiguous(memory_format=torch.channels_last)
    network, inputs = {
        "blind_spot": (make_blind_spot(config.blind_spot), (image,)),
        "diffusion": (make_diffusion(config.diffusion), (image, image, torch.tensor([10, 500]))),
        "student": (make_student(config.student), (image,)),
        "student of volumes": (make_student(config.student.model_copy(update={"neighbours": 1})), (images,)),
    }[stage]
    for parameter in network.parameters():  # awake: blocks start as the identity
        if parameter.abs().max() == 0:
            nn.init.normal_(parameter, std=0.05)
    network = network.to(memory_format=torch.channels_last)
    exact, rounded = (gradient(network, inputs, bf16) for bf16 in (False, True))
    assert torch.isfinite(rounded).all()
    assert (rounded - exact).norm() < 0.25 * exact.norm()  # rounding costs 1 to 12 %, the fault 45 % and more


def test_a_step_is_a_function_of_seed_and_step(noisy: SliceStore) -> None:
    stage = BlindSpotStage(SMOKE.blind_spot, noisy, 3, 0.01)
    losses = [stage.loss_at(step).item() for step in (5, 6, 5)]
    assert losses[0] == losses[2] != losses[1]


@pytest.mark.parametrize("kind", ["student", "recorrupted"])
def test_made_ahead_the_batches_are_the_same(noisy: SliceStore, kind: str) -> None:
    torch.manual_seed(0)
    stage: Stage = (
        RecorruptedStage(SMOKE.student.model_copy(update={"neighbours": 1}), noisy, [constant_level(0.05)], 3)
        if kind == "recorrupted"
        else StudentStage(SMOKE.student, noisy, [constant_level(0.05)], noisy, [[0, 2]], 3)
    )
    in_turn = [stage.loss_at(step).item() for step in range(12)]
    stage.start_ahead()
    ahead = [stage.loss_at(step).item() for step in range(12)]
    stage.release()
    assert ahead == in_turn
    assert len(set(ahead)) == 12


def test_the_pixel_losses() -> None:
    difference = torch.tensor([-2.0, 3.0])
    assert torch.equal(pixel_loss("l1", difference), torch.tensor([2.0, 3.0]))
    assert torch.equal(pixel_loss("l2", difference), torch.tensor([4.0, 9.0]))


@pytest.mark.parametrize("leak", ["masked", "redrawn"])
def test_the_closed_condition_does_not_know_the_pixels_it_is_scored_on(noisy: SliceStore, leak: str) -> None:
    """Change the noise of the scored pixels: with the leak open the condition follows, with a cure it does not.

    As far as what hidden pixels are redrawn from, `blind`, stays what it is: the next test has the whole.
    """
    torch.manual_seed(0)
    blind_spot = make_blind_spot(SMOKE.blind_spot)
    for parameter in blind_spot.parameters():
        nn.init.normal_(parameter, std=0.3)
    settings = SMOKE.diffusion.model_copy(update={"leak": leak})
    conditioner = lambda x: mean_and_variance(blind_spot(x))[0]  # noqa: E731
    stage = DiffusionStage(settings, conditioner, 1, ChainTarget("residual", 0.1), noisy, noisy, noisy, 0)
    x = torch.rand(1, 1, 32, 32)
    blind = torch.cat([torch.full_like(x, 0.5), torch.full_like(x, 0.01)], dim=1)
    condition, scored = stage.cured(x, blind, blind[:, :1], generator_of(0, 0))
    changed, again = stage.cured(x + 5 * scored, blind, blind[:, :1], generator_of(0, 0))
    assert torch.equal(scored, again)
    assert 0 < scored.mean() < 0.3
    assert torch.equal(condition, changed)
    with torch.no_grad():
        open_condition = [mean_and_variance(blind_spot(image))[0] for image in (x, x + 5 * scored)]
    assert not torch.equal(*open_condition)


@pytest.mark.parametrize(("leak", "most"), [("masked", 0.0), ("redrawn", 0.2)])
def test_how_much_the_closed_condition_follows_the_noise_it_is_scored_on(
    noisy: SliceStore, leak: str, most: float
) -> None:
    """Beside the open one, with x_c of the changed slice: what is redrawn from it brings a trace of the noise back."""
    around = torch.ones(1, 1, 3, 3) / 8
    around[..., 1, 1] = 0
    conditioner = lambda x: nn.functional.conv2d(nn.functional.pad(x, (1,) * 4, "reflect"), around)  # noqa: E731
    settings = SMOKE.diffusion.model_copy(update={"leak": leak})
    stage = DiffusionStage(settings, conditioner, 1, ChainTarget("residual", 0.1), noisy, noisy, noisy, 0)
    x = torch.rand(1, 1, 128, 128)

    def shown(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x_c = conditioner(image)
        return stage.cured(image, torch.cat([x_c, torch.full_like(x, 0.01)], dim=1), x_c, generator_of(0, 0))

    (before, scored), noise = shown(x), torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    changed = x + noise * scored
    follows = (shown(changed)[0] - before).norm() / (conditioner(changed) - conditioner(x)).norm()
    assert follows <= most
    assert (follows > 0) == (most > 0)


def test_an_open_leak_shows_the_condition_as_it_is_and_damping_adds_noise_of_the_stated_size(
    noisy: SliceStore,
) -> None:
    blind = torch.cat([torch.zeros(1, 1, 200, 200), torch.full((1, 1, 200, 200), 0.04)], dim=1)
    x, condition = torch.rand(1, 1, 200, 200), torch.rand(1, 1, 200, 200)
    for leak, added in (("open", 0.0), ("damped", 0.5 * 0.2)):
        settings = SMOKE.diffusion.model_copy(update={"leak": leak, "damping": 0.5})
        stage = DiffusionStage(settings, lambda x: x, 1, ChainTarget("image"), noisy, noisy, noisy, 0)
        shown, scored = stage.cured(x, blind, condition, generator_of(0, 0))
        assert scored.all()
        assert (shown - condition).std().item() == pytest.approx(added, rel=0.02)


class Squares(Stage):
    """Notes the learning rates it is trained with."""

    def __init__(self, steps: int) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Conv2d(1, 1, 1), SMOKE.student.model_copy(update={"steps": steps}), 0)
        self.rates: list[float] = []

    def batch_at(self, step: int, generator: torch.Generator) -> Batch:
        return (torch.randn(1, 1, 4, 4, generator=generator),)

    def loss_of(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return self(*batch).square().mean()


def quietly(what: str, done: int, total: int) -> None:
    pass


@pytest.mark.parametrize("steps", [12, 30, 61])
def test_a_training_can_be_made_shorter_or_longer_on_the_way(tmp_path: Path, steps: int) -> None:
    stage = Squares(30)
    train(
        stage, "", tmp_path, "cpu", quietly, pacer=lambda done, pace: pace.ending_at(steps, 10) if done == 10 else pace
    )
    assert len(stage.rates) == stage.trainer.global_step == steps
    assert stage.rate(steps) == pytest.approx(0, abs=1e-9)
    plain = Squares(30)
    train(plain, "", tmp_path / "plain", "cpu", quietly)
    assert stage.rates[:10] == plain.rates[:10]


def test_interrupted_after_it_was_made_longer_it_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFDENOISE_CHECKPOINT_SECONDS", "0")
    longer = lambda done, pace: pace.ending_at(40, 10) if done == 10 else pace  # noqa: E731

    def interrupt(what: str, done: int, total: int) -> None:
        if done == 35:
            raise KeyboardInterrupt

    whole, first, second = Squares(20), Squares(20), Squares(20)
    train(whole, "", tmp_path / "whole", "cpu", quietly, pacer=longer)
    with pytest.raises(KeyboardInterrupt):
        train(first, "", tmp_path / "cut", "cpu", interrupt, pacer=longer)
    second.pace = first.pace
    train(second, "", tmp_path / "cut", "cpu", quietly)
    assert len(second.rates) == 5 + (35 - first.trainer.global_step)
    for one, other in zip(whole.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("last", [7, 12])
def test_interrupted_the_averaged_weights_end_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    monkeypatch.setenv("DIFFDENOISE_CHECKPOINT_SECONDS", "0")

    def interrupt(what: str, done: int, total: int) -> None:
        if done == last:
            raise KeyboardInterrupt

    def shorter(done: int, pace: Pace) -> Pace:
        return pace.ending_at(14, done) if done == 5 else pace

    whole, first, second = Squares(100), Squares(100), Squares(100)
    train(whole, "", tmp_path / "whole", "cpu", quietly, 0.9999, shorter)
    with pytest.raises(KeyboardInterrupt):
        train(first, "", tmp_path / "cut", "cpu", interrupt, 0.9999, shorter)
    second.pace = first.pace
    train(second, "", tmp_path / "cut", "cpu", quietly, 0.9999)
    for one, other in zip(whole.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("tasks", ["1", "4"])
def test_a_job_of_a_cluster_trains_as_any_other_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tasks: str
) -> None:
    job = {"NTASKS": tasks, "JOB_ID": "7", "JOB_NAME": "fit", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    before, seen, stage = signal.getsignal(signal.SIGUSR1), [], Squares(3)

    def look(what: str, done: int, total: int) -> None:  # a handler of Lightning's would queue the job again
        seen.append(signal.getsignal(signal.SIGUSR1))

    train(stage, "", tmp_path, "cpu", look)
    assert seen == 3 * [before]
    assert stage.trainer.global_step == 3


class Diverging(Squares):
    def loss_of(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        return super().loss_of(batch, generator) * float("nan")


def test_a_training_that_diverged_is_an_error_not_a_model(tmp_path: Path) -> None:
    stage = Diverging(3)
    with pytest.raises(RunError, match="diverged"):
        train(stage, "Student", tmp_path, "cpu", lambda what, done, total: None)
    assert not (tmp_path / "last.ckpt").exists()
