from pathlib import Path

import numpy as np
import pytest
import torch

from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.training.combinations import CombinationStore
from diffdenoise.training.drawn import draw_noise
from diffdenoise.training.slices import Box, SliceStore, draw_boxes, write_scan_slices

FRAMES, PLACES = 3, 2
WEIGHTS = np.array([[0.6, 0.8, 0], [0, 0, 1], [1, 0, 0], [0.48, -0.36, 0.8]], np.float32)


@pytest.fixture
def store(tmp_path: Path) -> CombinationStore:
    """Of a series, and of a scan that is none."""
    random = np.random.default_rng(0)
    write_scan_slices(tmp_path, 0, random.standard_normal((FRAMES * PLACES, 1, 32, 40)))
    write_scan_slices(tmp_path, 1, random.standard_normal((4, 1, 24, 24)))
    return CombinationStore(SliceStore(tmp_path, [FRAMES, 1]), [WEIGHTS, None])


def test_a_volume_is_the_sum_that_its_weights_say(store: CombinationStore) -> None:
    assert store.shapes == [(len(WEIGHTS) * PLACES, 1, 32, 40), (4, 1, 24, 24)]
    frames = store.arrays[0][:, 0].reshape(FRAMES, PLACES, 32, 40)
    made = np.stack([store.slice(0, index)[0].numpy() for index in range(store.shapes[0][0])])
    expected = np.einsum("vt,tprc->vprc", WEIGHTS, frames).reshape(made.shape)
    np.testing.assert_allclose(made, expected, atol=1e-6)
    np.testing.assert_array_equal(store.slice(1, 2)[0], store.arrays[1][2, 0])


def test_crops_are_cut_from_it_and_their_parts_add_up_to_them(store: CombinationStore) -> None:
    boxes = draw_boxes(store.shapes, 0, 0, 60, 16)
    assert {box.scan for box in boxes} == {0, 1}
    for box, crop in zip(boxes, store.crops(boxes), strict=True):
        image = np.asarray(store.slice(box.scan, box.slice))
        at = image[:, box.row : box.row + box.side, box.column : box.column + box.side]
        turned = np.rot90(at, box.turn % 4, axes=(1, 2))
        np.testing.assert_allclose(crop, turned[..., ::-1] if box.turn >= 4 else turned, atol=1e-6)
        weights, images = store.parts(box)
        np.testing.assert_allclose(np.tensordot(weights, images, 1), crop[0], atol=1e-6)


def test_neighbours_lie_in_the_same_volume(store: CombinationStore) -> None:
    box = Box(0, 2, 0, 0, 16, 0)  # the first place of the second volume
    assert store.neighbour(box, -1) is None
    assert store.neighbour(box, 1) == Box(0, 3, 0, 0, 16, 0)
    assert store.neighbour(Box(0, 3, 0, 0, 16, 0), 1) is None


@pytest.mark.parametrize("volume", range(len(WEIGHTS)))
def test_the_noise_of_a_sum_is_the_sum_of_that_of_each_frame(tmp_path: Path, volume: int) -> None:
    """Which is as strong as the brightness of each says; where a frame is masked it has none."""
    frames = np.multiply.outer([1.0, 2.0, 3.0], np.ones((1, 1, 48, 48))).reshape(3, 1, 48, 48)
    frames += 1e-3 * np.random.default_rng(0).standard_normal(frames.shape)
    frames[1, :, :20] = 2.0
    write_scan_slices(tmp_path, 0, frames)
    level = NoiseLevel((1.0, 2.0, 3.0), (0.1, 0.2, 0.4))
    store = CombinationStore(SliceStore(tmp_path, [3]), [WEIGHTS])
    box, generator = Box(0, volume, 0, 0, 48, 0), torch.Generator().manual_seed(0)
    z = torch.cat([draw_noise(store, level, box, generator) for _ in range(40)])
    of_each = WEIGHTS[volume] ** 2 * np.array([0.01, 0.04, 0.16])
    assert z[..., 24:, :].var() == pytest.approx(of_each.sum(), rel=0.05)
    assert z[..., :16, :].var() == pytest.approx(of_each[[0, 2]].sum(), rel=0.05)
