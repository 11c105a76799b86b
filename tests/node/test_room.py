from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise.node.room import Bounds
from diffdenoise.node.spool import Spool


@pytest.mark.parametrize(
    ("bounds", "most"), [(Bounds(images=3), 3), (Bounds(bytes=35), 3), (Bounds(free=10**18), 0), (Bounds(), 10)]
)
def test_a_spool_holds_no_more_than_its_bounds(tmp_path: Path, bounds: Bounds, most: int) -> None:
    spool, taken = Spool(tmp_path, bounds), 0
    for number in range(10):
        if spool.room.fits(10):
            spool.add("s", str(number), 10 * b".")
            taken += 1
    assert taken == most


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (Bounds(images=1), "images in the queue: 1, no more with this --max-images"),
        (Bounds(bytes=15), "the spool holds 1e-08 GB, no more with this --max-gb"),
        (Bounds(free=10**18), "GB free, and 1e+09 GB stay free for denoising"),
    ],
)
def test_what_stands_in_the_way_of_one_more_is_named(tmp_path: Path, bounds: Bounds, words: str) -> None:
    spool = Spool(tmp_path, bounds)
    spool.add("s", "i", 10 * b".")
    assert words in spool.room.lack(10)


@given(sizes=st.lists(st.integers(0, 50), max_size=6), failed=st.integers(0, 6), sent=st.integers(0, 6))
def test_carried_on_or_counted_anew_the_usage_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], failed: int, sent: int
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder)
    spool.room.usage()
    spool.room._next = float("inf")
    for number, size in enumerate(sizes):
        spool.add(f"s{number}", "i", size * b".")
    carried, counted = spool.room.usage(), Spool(folder).room.usage()
    assert (carried.waiting, carried.bytes) == (counted.waiting, counted.bytes) == (len(sizes), sum(sizes))
    for number in range(min(failed, len(sizes))):
        spool.fail(f"s{number}", ["i.dcm"], "no good")
    for number in range(failed, min(failed + sent, len(sizes))):
        derived = folder / "derived"
        derived.touch()
        spool.denoised(f"s{number}", {"i.dcm": derived})
    usage = Spool(folder).room.usage()
    assert usage.waiting + usage.failed + usage.done == len(sizes)
    assert usage.outgoing == usage.done
    assert usage.queue == usage.waiting + usage.outgoing
    assert usage.bytes == sum(sizes)
    assert (usage.oldest > 0) == (usage.queue > 0)
