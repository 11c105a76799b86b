"""What the three trainings share: a Lightning module whose step is a function of (seed, step), and how it is run."""

from __future__ import annotations

import logging
import math
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch import Tensor, nn
from torch.utils.data import DataLoader

from diffdenoise.config import Loss, StageSettings
from diffdenoise.device import precision
from diffdenoise.errors import RunError
from diffdenoise.scans.atomic import flush
from diffdenoise.training.ahead import Ahead
from diffdenoise.training.pace import Pace, Pacer, steadily
from diffdenoise.training.replayed import Replayed

Progress = Callable[[str, int, int], None]  # (what, done, of how many)

Batch = tuple[Tensor, ...]  # each (N, ...)

MOST_GRADIENT = 1.0  # norm
WARM_UP = 50  # steps of rising learning rate
LOGGED = 20  # every so many steps
OF_STEPS = 10  # an average of weights is at most over the last tenth of the steps
CHECKPOINT_SECONDS = 30.0
CHECKPOINT = "last.ckpt"
PART = "last.part"  # one that is being written
ENDLESS = 2**31  # steps of an epoch: one is enough, however many there will be


class Stage(lightning.LightningModule):
    """Base of the stages: `batch_at` makes the batch of a step on the CPU, `loss_of` computes with it on the device.

    The data loader only counts steps: Lightning starts it anew when it resumes in the middle of an epoch, so a batch
    that came from it would not be the one an undisturbed training sees. On a GPU batches are made ahead of their turn.
    """

    def __init__(self, network: nn.Module, settings: StageSettings, seed: int) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings, self.seed, self.pace = settings, seed, Pace.even(settings.steps)
        # Not before the first step: Lightning copies the module that is averaged.
        self._ahead: Ahead[tuple[Batch, torch.Generator]] | None = None
        self._replayed: Replayed | None = None

    def batch_at(self, step: int, generator: torch.Generator) -> Batch:
        """Of a step, on the CPU; the generator is fresh for the step. Other steps' may be made at the same time."""
        raise NotImplementedError

    def loss_of(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Training loss of a batch on this module's device; the generator is the one that made it, and on the CPU."""
        raise NotImplementedError

    def loss_at(self, step: int) -> Tensor:
        """Training loss at a step, a function of this and the seed."""
        batch, generator = self._ahead(step) if self._ahead else self.made(step)
        return self.loss_of(tuple(map(self.place, batch)), generator)

    def forward(self, *inputs: Tensor) -> Tensor:
        """The network's output, once a step; on a GPU from passes that are recorded and replayed."""
        if self.device.type != "cuda":
            return self.network(*inputs)
        self._replayed = self._replayed or Replayed(self.network)
        return self._replayed(*inputs)

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """One step of training."""
        if self.device.type == "cuda" and self._ahead is None:
            self.start_ahead()
        loss = self.loss_at(self.global_step)
        if (self.global_step + 1) % LOGGED == 0:  # the others cost time and are not kept
            self.log("loss", loss.detach())
        return loss

    def start_ahead(self) -> None:
        """From now on batches are made ahead of their turn, by threads."""
        self._ahead = Ahead(self.made)

    def release(self) -> None:
        """Stop the threads, and forget what was recorded, if there are any."""
        if self._ahead:
            self._ahead.close()
        if self._replayed:
            self._replayed.close()
        self._ahead, self._replayed = None, None

    def made(self, step: int) -> tuple[Batch, torch.Generator]:
        """The batch of a step, and the generator that made it."""
        generator = generator_of(self.seed, step)
        return self.batch_at(step, generator), generator

    def configure_optimizers(self) -> Any:
        """AdamW; the learning rate rises for `WARM_UP` steps, then falls to zero along a cosine."""
        fused = self.device.type in ("cuda", "cpu")  # one kernel for all weights: a CPU saves 4 % of a step
        optimizer = torch.optim.AdamW(
            self.network.parameters(), self.settings.learning_rate, betas=(0.9, 0.99), fused=fused
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        """To a norm of MOST_GRADIENT. Lightning's own refuses a fused optimiser."""
        nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], MOST_GRADIENT)  # to collect them takes a while

    def rate(self, step: int) -> float:
        """The learning rate at a step, as a share of the peak."""
        return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * self.pace.progress(step)))

    def place(self, x: Tensor) -> Tensor:
        """Part of a batch on this module's device; images channels last."""
        return x.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)


def generator_of(seed: int, *numbers: int) -> torch.Generator:
    """The random numbers of a step, or of what else has numbers; on the CPU, so that every device sees the same."""
    state = np.random.SeedSequence([seed, *numbers]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def pixel_loss(kind: Loss, difference: Tensor) -> Tensor:
    """L1 or L2 per pixel: |d| targets the median, d^2 the mean."""
    return difference.abs() if kind == "l1" else difference**2


class _Checkpoint(Callback):
    """Saves every so many seconds, beside and then renamed: a kill leaves the old checkpoint or the new one."""

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.seconds, self.saved = path, seconds, time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if time.monotonic() - self.saved < self.seconds or trainer.global_step >= trainer.fit_loop.epoch_loop.max_steps:
            return  # not at the end either: resumed there, Lightning would not put the averaged weights in place
        beside = self.path.with_name(PART)
        trainer.save_checkpoint(beside)
        flush(beside)
        beside.replace(self.path)
        self.saved = time.monotonic()


class _Pacing(Callback):
    """Asks after each step whether the training is to be shorter or longer."""

    def __init__(self, pacer: Pacer) -> None:
        self.pacer = pacer

    def on_train_batch_end(self, trainer: lightning.Trainer, stage: lightning.LightningModule, *_: Any) -> None:
        stage = cast(Stage, stage)
        stage.pace = self.pacer(trainer.global_step, stage.pace)
        trainer.fit_loop.epoch_loop.max_steps = stage.pace.steps


class _Report(Callback):
    def __init__(self, name: str, progress: Progress) -> None:
        self.name, self.progress = name, progress

    def on_train_batch_end(self, trainer: lightning.Trainer, stage: lightning.LightningModule, *_: Any) -> None:
        self.progress(self.name, trainer.global_step, cast(Stage, stage).pace.steps)


def train(
    stage: Stage,
    name: str,
    folder: Path,
    device: str,
    progress: Progress,
    ema: float | None = None,
    pacer: Pacer = steadily,
) -> None:
    """Train a stage to its last step, from the checkpoint in the folder if one is there.

    pacer: asked after each step; may change how many are still to come.

    Leaves the loss curve in `log/` in the folder. Checkpoints are read as plain tensors, never code.
    Raises RunError if the training diverged.
    """
    from pytorch_lightning.callbacks import EMAWeightAveraging

    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / CHECKPOINT
    # Of a training that is short beside it an average would be mostly what the weights were at the start. By the steps
    # as they were planned, which a training that goes on knows, too: its pace is another one by then.
    averaging = [EMAWeightAveraging(decay=max(0.0, min(ema, 1 - OF_STEPS / stage.settings.steps)))] if ema else []
    seconds = float(os.environ.get("DIFFDENOISE_CHECKPOINT_SECONDS", CHECKPOINT_SECONDS))
    quiet_lightning()
    trainer = lightning.Trainer(
        accelerator={"cuda": "gpu"}.get(device, device),
        devices=1,
        plugins=[LightningEnvironment()],  # in a job of SLURM, too, however many tasks it has: this is one of them
        precision=precision(device),
        max_steps=stage.pace.steps,
        max_epochs=-1,
        logger=CSVLogger(folder, name="log"),
        log_every_n_steps=LOGGED,
        callbacks=[*averaging, _Pacing(pacer), _Checkpoint(checkpoint, seconds), _Report(name, progress)],
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    resume = str(checkpoint) if checkpoint.exists() else None
    counter: Any = DataLoader(range(ENDLESS), batch_size=None)  # type: ignore[arg-type]
    try:
        trainer.fit(stage, counter, ckpt_path=resume, weights_only=True)
    except SystemExit as stop:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from stop
    finally:
        stage.release()
    if not all(weight.isfinite().all() for weight in stage.network.parameters()):
        checkpoint.unlink(missing_ok=True)  # going on from it would lead to the same place
        raise RunError(f"{name}: the training diverged. Lower its learning_rate with --config, and run again.")
    stage.eval()


def quiet_lightning() -> None:
    """Silence what Lightning says to its own developers; our progress and errors say what a user needs."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")


def autocast(device: str) -> torch.autocast:
    """bf16 where the device has it, as in training."""
    return torch.autocast(device, torch.bfloat16, enabled=precision(device) == "bf16-mixed")
