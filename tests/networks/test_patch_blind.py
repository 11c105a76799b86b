import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffdenoise.networks.patch_blind import PatchBlindNetwork, from_phases, to_phases


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_phases_are_undone(d: int, n: int, rows: int, columns: int) -> None:
    x = torch.randn(n, 2, rows * d, columns * d)
    assert torch.equal(from_phases(to_phases(x, d), d), x)


def test_a_phase_holds_pixels_d_apart() -> None:
    x = torch.arange(36.0).reshape(1, 1, 6, 6)
    assert torch.equal(to_phases(x, 3)[0, 0], x[0, 0, ::3, ::3])


@pytest.mark.parametrize("patch", [0, 2, -1])
def test_a_patch_without_a_centre_is_refused(patch: int) -> None:
    with pytest.raises(ValueError, match="odd"):
        PatchBlindNetwork(patch=patch)


@pytest.mark.parametrize(("patch", "alignment"), [(1, 12), (5, 112)])
def test_alignment_joins_the_grids_of_both_branches(patch: int, alignment: int) -> None:
    assert PatchBlindNetwork(patch=patch, widths=(4, 4)).alignment == alignment


def test_each_level_may_have_its_own_number_of_blocks() -> None:
    network = PatchBlindNetwork(widths=(4, 4), blocks=(1, 3))
    assert [len(stack) for stack in network.branches[0].body.down_blocks] == [1, 3]
