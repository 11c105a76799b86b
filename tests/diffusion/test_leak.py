import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffdenoise.diffusion.leak import draw_hidden, mask, redraw


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("patch", [1, 3, 5])
def test_about_the_share_is_hidden_with_the_whole_patch(patch: int) -> None:
    scored, hidden = draw_hidden((4, 1, 200, 200), 0.1, patch, generator())
    assert 0.08 < hidden.float().mean() < 0.12
    assert hidden[scored].all()
    rows, columns = torch.nonzero(scored[0, 0], as_tuple=True)
    inner = (rows >= patch) & (rows < 200 - patch) & (columns >= patch) & (columns < 200 - patch)
    row, column = rows[inner][0], columns[inner][0]
    reach = patch // 2
    assert hidden[0, 0, row - reach : row + reach + 1, column - reach : column + reach + 1].all()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.sampled_from([1, 3]), st.floats(0.02, 0.5))
def test_neither_cure_lets_a_hidden_value_through(seed: int, patch: int, share: float) -> None:
    x = torch.rand(2, 1, 20, 17, generator=generator(seed))
    _, hidden = draw_hidden(tuple(x.shape), share, patch, generator(seed))
    changed = torch.where(hidden, 1e6, x)
    for cure in (
        lambda image: mask(image, hidden, patch, generator(seed)),
        lambda image: redraw(image, hidden, torch.zeros_like(x), torch.ones_like(x), generator(seed)),
    ):
        assert torch.equal(cure(x), cure(changed))
        assert torch.equal(cure(x)[~hidden], x[~hidden])


def test_masked_pixels_take_the_value_of_a_visible_pixel_nearby() -> None:
    x = torch.arange(400.0).reshape(1, 1, 20, 20)
    _, hidden = draw_hidden((1, 1, 20, 20), 0.1, 1, generator(1))
    got = mask(x, hidden, 1, generator(2))
    for row, column in torch.nonzero(hidden[0, 0]).tolist():
        around = x[0, 0, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
        assert got[0, 0, row, column] in around
        assert got[0, 0, row, column] != x[0, 0, row, column]


def test_redrawn_pixels_have_the_predicted_mean_and_variance() -> None:
    hidden = torch.ones(1, 1, 300, 300, dtype=torch.bool)
    x_c, v_total = torch.full((1, 1, 300, 300), 0.3), torch.full((1, 1, 300, 300), 0.04)
    got = redraw(torch.zeros_like(x_c), hidden, x_c, v_total, generator())
    assert abs(got.mean() - 0.3) < 0.005
    assert abs(got.var() - 0.04) < 0.002
