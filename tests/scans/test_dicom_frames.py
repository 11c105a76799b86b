from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffdenoise.scans.dicom_frames import in_order
from diffdenoise.scans.files import write_scan
from tests.scans.dicom_checks import multi_frame, over_time
from tests.scans.format_checks import PROVENANCE, REMOVED, read


@settings(deadline=None, max_examples=20)
@given(order=st.permutations([(place, time) for time in range(3) for place in range(4)]))
def test_frames_over_time_are_volumes_and_go_back_to_their_places(
    order: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("frames")
    path = over_time(folder / "a.dcm", order)
    scan = read(path)
    assert scan.frames == 3
    assert scan.pixels[:, 0, 0].tolist() == [10 * time + place for time in range(3) for place in range(4)]
    written = pydicom.dcmread(write_scan(scan.with_pixels(scan.pixels + 100), folder / "out", PROVENANCE))
    np.testing.assert_array_equal(written.pixel_array, pydicom.dcmread(path).pixel_array + 100)


def test_one_place_over_time_is_so_many_volumes_of_one_slice(tmp_path: Path) -> None:
    assert read(over_time(tmp_path / "a.dcm", [(0, 0), (0, 1), (0, 2)])).frames == 3


def test_what_is_not_there_equally_often_is_one_stack_by_place(tmp_path: Path) -> None:
    scan = read(over_time(tmp_path / "a.dcm", [(1, 0), (0, 0), (0, 1)]))
    assert scan.frames == 1
    assert scan.pixels[:, 0, 0].tolist() == [0, 10, 1]


def test_frames_without_places_stay_as_they_lie(tmp_path: Path) -> None:
    assert in_order(pydicom.dcmread(multi_frame(tmp_path / "a.dcm"))) == ([0, 1], 1)


def test_a_map_of_frames_lies_as_the_frames_do(tmp_path: Path) -> None:
    scan = read(over_time(tmp_path / "a.dcm", [(2, 0), (0, 0), (1, 0)]))
    noise = np.arange(3, dtype=np.float32)[:, None, None] * np.ones((1, 64, 64), np.float32)
    written = pydicom.dcmread(write_scan(scan.with_pixels(noise), tmp_path / "out", REMOVED))
    values = written.pixel_array[:, 0, 0] / written.pixel_array[0, 0, 0] * 2
    np.testing.assert_allclose(values, [2, 0, 1], atol=1e-3)
