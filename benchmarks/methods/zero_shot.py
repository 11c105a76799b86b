"""ZS-N2N (Mansour & Heckel 2023): a two-layer network trained on one image alone. Written from the paper."""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.methods import Denoise, Given

WIDTH, LEARNING_RATE = 48, 1e-3  # the paper's
DIAGONALS = torch.tensor([[[0.0, 0.5], [0.5, 0.0]], [[0.5, 0.0], [0.0, 0.5]]])[:, None]


def zs_n2n(given: Given) -> Denoise:
    """The time is shared among all slices; it trains when it denoises."""

    def denoise(scans: list[np.ndarray]) -> list[np.ndarray]:
        seconds = given.seconds / sum(len(scan) for scan in scans)
        return [np.stack([_one(image, seconds, given) for image in scan]) for scan in scans]

    return denoise


def _one(image: np.ndarray, seconds: float, given: Given) -> np.ndarray:
    torch.manual_seed(given.seed)
    rows, columns = image.shape
    even = np.pad(image, ((0, rows % 2), (0, columns % 2)), "reflect")
    y = torch.from_numpy(even)[None, None].to(given.device)
    layers = nn.Conv2d(1, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, 1, 1)
    network = nn.Sequential(layers[0], nn.LeakyReLU(0.2), layers[1], nn.LeakyReLU(0.2), layers[2]).to(given.device)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    start, spent = time.perf_counter(), 0.0
    while spent < 1:
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * spent))
        optimizer.zero_grad()
        _loss(network, y).backward()
        optimizer.step()
        spent = (time.perf_counter() - start) / seconds
    with torch.no_grad():
        return (y - network(y))[0, 0, :rows, :columns].cpu().numpy()


def _loss(network: nn.Module, y: Tensor) -> Tensor:
    """Symmetric residual loss between the two diagonals' means, and consistency with the whole image."""
    a, b = _halves(y)
    clean_a, clean_b = a - network(a), b - network(b)
    whole_a, whole_b = _halves(y - network(y))
    between = ((clean_a - b) ** 2).mean() + ((clean_b - a) ** 2).mean()
    return between / 2 + (((clean_a - whole_a) ** 2).mean() + ((clean_b - whole_b) ** 2).mean()) / 2


def _halves(y: Tensor) -> tuple[Tensor, Tensor]:
    a, b = nn.functional.conv2d(y, DIAGONALS.to(y.device), stride=2).chunk(2, dim=1)
    return a, b
