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
from torch import Tensor, nn
from torch.utils.data import DataLoader

from diffdenoise.config import Loss, StageSettings
from diffdenoise.device import precision
from diffdenoise.errors import RunError
from diffdenoise.training.pace import Pace, Pacer, steadily

Progress = Callable[[str, int, int], None]  # (what, done, of how many)

WARM_UP = 50  # steps of rising learning rate
CHECKPOINT_SECONDS = 30.0
CHECKPOINT = "last.ckpt"
PART = "last.part"  # one that is being written
ENDLESS = 2**31  # steps of an epoch: one is enough, however many there will be


class Stage(lightning.LightningModule):
    """Base of the stages. `loss_at` draws its own batch from the generator it is given.

    The data loader only counts steps: Lightning starts it anew when it resumes in the middle of an epoch, so a batch
    that came from it would not be the one an undisturbed training sees.
    """

    def __init__(self, network: nn.Module, settings: StageSettings, seed: int) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings, self.seed, self.pace = settings, seed, Pace.even(settings.steps)

    def loss_at(self, step: int, generator: torch.Generator) -> Tensor:
        """Training loss at a step; the generator is fresh for the step and lives on the CPU."""
        raise NotImplementedError

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """One step of training."""
        loss = self.loss_at(self.global_step, step_generator(self.seed, self.global_step))
        self.log("loss", loss.detach())
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW; the learning rate rises for `WARM_UP` steps, then falls to zero along a cosine."""
        optimizer = torch.optim.AdamW(self.network.parameters(), self.settings.learning_rate, betas=(0.9, 0.99))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def rate(self, step: int) -> float:
        """The learning rate at a step, as a share of the peak."""
        return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * self.pace.progress(step)))

    def place(self, x: Tensor) -> Tensor:
        """A batch on this module's device, channels last."""
        return x.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step, drawn on the CPU so that every device sees the same."""
    state = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]
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
    averaging = [EMAWeightAveraging(decay=ema)] if ema else []
    seconds = float(os.environ.get("DIFFDENOISE_CHECKPOINT_SECONDS", CHECKPOINT_SECONDS))
    quiet_lightning()
    trainer = lightning.Trainer(
        accelerator={"cuda": "gpu"}.get(device, device),
        devices=1,
        precision=precision(device),
        max_steps=stage.pace.steps,
        max_epochs=-1,
        gradient_clip_val=1.0,
        logger=CSVLogger(folder, name="log"),
        log_every_n_steps=20,
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
