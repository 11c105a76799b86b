from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise.errors import ConfigError
from diffdenoise.training.slices import Box, SliceStore, draw_boxes, fill_store, neighbour, scans_of, write_scan_slices


def store_of(folder: Path, *shapes: tuple[int, int, int]) -> SliceStore:
    for number, (slices, rows, columns) in enumerate(shapes):
        values = 10_000 * number + np.arange(slices * rows * columns, dtype=np.float32)
        write_scan_slices(folder, number, values.reshape(slices, 1, rows, columns))
    return SliceStore(folder)


@given(seed=st.integers(0, 2**31), step=st.integers(0, 10**6), crop=st.integers(16, 64))
def test_boxes_lie_inside_and_depend_on_seed_and_step_alone(seed: int, step: int, crop: int) -> None:
    shapes = [(3, 1, 40, 30), (1, 1, 20, 90)]
    boxes = draw_boxes(shapes, seed, step, 8, crop)
    assert boxes == draw_boxes(shapes, seed, step, 8, crop)
    assert boxes != draw_boxes(shapes, seed, step + 1, 8, crop)
    for box in boxes:
        slices, _, rows, columns = shapes[box.scan]
        assert box.side == min(crop, *(min(shapes[one.scan][-2:]) for one in boxes))
        assert 0 <= box.slice < slices
        assert 0 <= box.row <= rows - box.side
        assert 0 <= box.column <= columns - box.side


def test_crops_of_two_stores_match(tmp_path: Path) -> None:
    first, second = (store_of(tmp_path / name, (4, 32, 40)) for name in "ab")
    boxes = draw_boxes(first.shapes, 1, 2, 16, 16)
    assert torch.equal(first.crops(boxes), second.crops(boxes))
    assert first.crops(boxes).shape == (16, 1, 16, 16)
    assert {box.turn for box in draw_boxes(first.shapes, 1, 2, 200, 16)} == set(range(8))


def test_only_chosen_slices_are_drawn(tmp_path: Path) -> None:
    store = store_of(tmp_path, (5, 20, 20), (3, 20, 20))
    boxes = draw_boxes(store.shapes, 0, 0, 200, 16, chosen=[[1, 4], []])
    assert {(box.scan, box.slice) for box in boxes} == {(0, 1), (0, 4)}


def test_a_tiny_scan_is_left_out_and_only_tiny_ones_are_refused() -> None:
    boxes = draw_boxes([(1, 1, 5, 5), (1, 1, 50, 50)], 0, 0, 20, 32)
    assert {(box.scan, box.side) for box in boxes} == {(1, 32)}
    sides = {
        box.scan: box.side for step in range(40) for box in draw_boxes([(1, 1, 17, 90), (9, 1, 50, 50)], 0, step, 1, 32)
    }
    assert sides == {0: 17, 1: 32}  # a narrow scan makes its own crops smaller, no others
    with pytest.raises(ConfigError, match="smaller than"):
        draw_boxes([(1, 1, 5, 5)], 0, 0, 1, 32)


def test_slices_are_memory_mapped(tmp_path: Path) -> None:
    store = store_of(tmp_path, (2, 16, 16))
    assert isinstance(store.arrays[0], np.memmap)
    assert torch.equal(store.slice(0, 1), torch.arange(256.0, 512.0).reshape(1, 16, 16))


def test_a_store_may_have_more_scans_than_a_process_may_open(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    store_of(tmp_path, *(400 * [(1, 16, 16)]))
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    try:
        stores = [SliceStore(tmp_path) for _ in range(2)]
        assert all(store.slice(number, 0).shape == (1, 16, 16) for store in stores for number in range(400))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_store_is_filled_and_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    shapes, chosen, made = [(3, 1, 4, 5), (2, 1, 6, 7)], [[0, 2], [1]], []

    def make(scan: int, index: int) -> torch.Tensor:
        if len(made) == 2:
            made.append(None)
            raise KeyboardInterrupt
        made.append((scan, index))
        return torch.full(shapes[scan][1:], 10.0 * scan + index)

    with pytest.raises(KeyboardInterrupt):
        fill_store(tmp_path, shapes, make, chosen)
    fill_store(tmp_path, shapes, make, chosen)
    assert made == [(0, 0), (0, 2), None, (1, 1)]
    store = SliceStore(tmp_path)
    assert store.shapes == shapes
    assert (store.slice(0, 2) == 2).all()
    assert (store.slice(1, 1) == 11).all()
    assert store.slice(0, 1).isnan().all()


@given(frames=st.integers(1, 4), size=st.integers(1, 6), offset=st.integers(-3, 3))
def test_neighbours_stay_within_their_volume(frames: int, size: int, offset: int) -> None:
    for number in range(frames * size):
        there = neighbour(number, offset, frames * size, frames)
        inside = 0 <= number % size + offset < size
        assert there == (number + offset if inside else None)


def test_a_neighbour_is_the_same_place_of_another_slice(tmp_path: Path) -> None:
    store_of(tmp_path, (6, 20, 20))
    store = SliceStore(tmp_path, [2])
    box = Box(0, 1, 2, 3, 16, 5)
    there = store.neighbour(box, 1)
    assert there == Box(0, 2, 2, 3, 16, 5)
    assert torch.equal(store.crops([there]), store.crops([box]) + 400)
    assert store.neighbour(there, 1) is None


def test_a_half_written_scan_of_a_killed_process_is_none(tmp_path: Path) -> None:
    for number in (2, 99_999, 100_000):
        write_scan_slices(tmp_path, number, np.full((1, 1, 2, 2), number, np.float32))
    (tmp_path / ".0f0f0f0f-12-0f0f0f0f-00000.npy").write_bytes(b"half")
    assert [path.name for path in scans_of(tmp_path)] == ["00002.npy", "99999.npy", "100000.npy"]
    assert [array.max() for array in SliceStore(tmp_path).arrays] == [2, 99_999, 100_000]


def test_slices_that_count_as_alone_have_no_neighbours(tmp_path: Path) -> None:
    store_of(tmp_path, (3, 20, 20), (3, 20, 20))
    store = SliceStore(tmp_path, alone=[True, False])
    assert [store.neighbour(Box(scan, 1, 0, 0, 16, 0), 1) is None for scan in (0, 1)] == [True, False]
