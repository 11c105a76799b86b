"""The eight symmetries of the square: a network that learned from crops turned and mirrored has eight opinions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SYMMETRIES = 8
ORDER = (0, 2, 1, 3, 4, 5, 6, 7)  # the first one, two and four are groups; a half turn adds as much as any other
BACK_AND_FORTH = 3  # passes that a step of training is worth: forward, and twice as much back
LITTLE = 0.25  # of the time of the training
OF_TURNS = {8: LITTLE, 4: LITTLE, 2: 0.5}  # the same; the first of them brings most


def turned(x: Tensor, turn: int) -> Tensor:
    """(N, C, H, W) by so many quarters, and mirrored from the fourth on."""
    x = torch.rot90(x, turn % 4, (2, 3))
    return (x.flip(-1) if turn >= 4 else x).contiguous()


def turned_back(x: Tensor, turn: int) -> Tensor:
    """The inverse of `turned`."""
    return torch.rot90(x.flip(-1) if turn >= 4 else x, -(turn % 4), (2, 3)).contiguous()


def over_symmetries(function: Callable[[Tensor], Tensor], x: Tensor, turns: int = SYMMETRIES) -> Tensor:
    """Mean of what a function of images makes of all eight, each turned back (self-ensemble, Timofte et al. 2016).

    turns: or of so many of them, the first being x as it is.
    """
    return torch.stack([turned_back(function(turned(x, turn)), turn) for turn in ORDER[:turns]]).mean(0)


def turns_that_take_little(pixels: int, trained: int) -> int:
    """How many of the eight turns, 8, 4, 2 or 1, so many pixels are to be seen in: see `takes_little`."""
    pay = (turns for turns, share in OF_TURNS.items() if takes_little(pixels, trained, turns - 1, share))
    return next(pay, 1)


def takes_little(pixels: int, trained: int, passes: float, share: float = LITTLE) -> bool:
    """Whether further passes over so many pixels take little beside a training on so many: those of all its crops.

    Counted, not timed, so that it depends on no machine. That share of the time that the training took gains more here
    than there (docs/method.md, section 12).
    """
    return passes * pixels <= share * BACK_AND_FORTH * trained
