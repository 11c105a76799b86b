"""Noise2Void (Krull et al. 2019) from CAREamics, at its own defaults: network, masking, normalisation, optimiser.

Its default learning rate falls when the validation loss stands still for ten epochs, which a budget of minutes hardly
sees. `falling` gives it the other schedule that CAREamics offers, so that the rate has fallen when the time is up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.methods import Denoise, Given

PATCH, BATCH = 64, 16  # of CAREamics' own examples
EPOCHS = 10_000  # more than the time allows
LAST = 0.02  # of the first learning rate, when the time is up


def noise2void(given: Given) -> Denoise:
    """Trained for the time given; validated, as its learning-rate schedule needs, on a tenth of the noisy slices."""
    return _denoise(_trained(given, _same_size(given.train), given.seconds))


def falling(given: Given) -> Denoise:
    """The same with a learning rate that falls by a factor each epoch; one epoch, which is thrown away, is timed.

    The epoch alone, without imports and setting up: those come once, and are not charged to the other schedule either.
    """
    slices, ends = _same_size(given.train), []
    _trained(given, slices, given.seconds, num_epochs=1, at_epoch_ends=lambda: ends.append(time.perf_counter()))
    an_epoch = ends[-1] - ends[0]
    left = given.seconds - an_epoch
    schedule = {"step_size": 1, "gamma": LAST ** (an_epoch / max(left, an_epoch))}
    return _denoise(_trained(given, slices, left, lr_scheduler="StepLR", lr_scheduler_params=schedule))


def _trained(
    given: Given,
    slices: np.ndarray,
    seconds: float,
    num_epochs: int = EPOCHS,
    at_epoch_ends: Callable[[], None] = lambda: None,
    **further: Any,
) -> Any:
    """A CAREamist; at_epoch_ends: called where an epoch begins and where it ends; further: settings of CAREamics."""
    import torch
    from careamics import CAREamist
    from careamics.config import create_advanced_n2v_config
    from lightning.pytorch.callbacks import LambdaCallback

    torch.manual_seed(given.seed)
    held = max(1, len(slices) // 10)
    config = create_advanced_n2v_config(
        experiment_name="n2v",
        data_type="array",
        axes="SYX",
        patch_size=2 * [min(PATCH, 2 ** int(np.log2(min(slices.shape[1:]))))],
        batch_size=BATCH,
        num_epochs=num_epochs,
        num_workers=0,
        seed=given.seed + 1,  # it must not be 0
        trainer_params={
            "max_time": _clock(seconds),
            "accelerator": "gpu" if given.device == "cuda" else "cpu",
        },
        **further,
    )
    tell = lambda *_: at_epoch_ends()  # noqa: E731
    clock = LambdaCallback(on_train_epoch_start=tell, on_train_epoch_end=tell)
    careamist = CAREamist(config, work_dir=given.work, callbacks=[clock], enable_progress_bar=False)
    careamist.train(train_data=slices[:-held], val_data=slices[-held:])
    return careamist


def _denoise(careamist: Any) -> Denoise:
    def scan(pixels: np.ndarray) -> np.ndarray:
        predicted, _ = careamist.predict(pixels, axes="SYX", data_type="array", tile_size=(256, 256))
        return np.concatenate([np.asarray(part).reshape(-1, *pixels.shape[1:]) for part in predicted])

    return lambda scans: [scan(pixels) for pixels in scans]


def _clock(seconds: float) -> str:
    """DD:HH:MM:SS, the only form of a time that CAREamics' own checkpoints can be read with."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 1440:02d}:{minutes // 60 % 24:02d}:{minutes % 60:02d}:{rest:02d}"


def _same_size(scans: list[np.ndarray]) -> np.ndarray:
    """All slices in one array, cut to the smallest scan's size: CAREamics' arrays are of one shape."""
    rows, columns = (min(scan.shape[axis] for scan in scans) for axis in (1, 2))
    middle = lambda size, wanted: slice((size - wanted) // 2, (size - wanted) // 2 + wanted)  # noqa: E731
    return np.concatenate([scan[:, middle(scan.shape[1], rows), middle(scan.shape[2], columns)] for scan in scans])
