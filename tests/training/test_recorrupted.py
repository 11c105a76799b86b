import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffdenoise.noise.estimate import NoiseLevel, constant_level
from diffdenoise.noise.texture import WHITE, smoothed
from diffdenoise.presets import make_config
from diffdenoise.training.recorrupted import (
    BRIGHTEST,
    LEAST,
    LEAST_ALPHA,
    MOST_ALPHA,
    RecorruptedStage,
    alpha_for,
    most_steps,
)
from diffdenoise.training.slices import Box, SliceStore, draw_boxes, write_scan_slices
from diffdenoise.training.stage import Batch


class Passing(torch.nn.Module):
    """Lets a share of the image through; of an image of noise alone that is the share of the noise."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.share * x


def stage(folder: Path, levels: list[NoiseLevel], passing: float | None = None, side: int = 48) -> RecorruptedStage:
    draw = np.random.default_rng(0)
    for number in range(len(levels)):
        write_scan_slices(folder, number, draw.standard_normal((2, 1, side, side)).astype(np.float32))
    made = RecorruptedStage(make_config("smoke").student, SliceStore(folder), levels, seed=0)
    if passing is not None:
        made.network, made.shifted = Passing(passing), 0
    return made


def loss(made: RecorruptedStage, step: int) -> float:
    return float(made.loss_at(step).detach())


def test_a_step_is_a_function_of_its_number(tmp_path: Path) -> None:
    made = stage(tmp_path, [constant_level(0.1)])
    losses = [loss(made, step) for step in (3, 3, 4)]
    assert losses[0] == losses[1] != losses[2]


def test_the_loss_is_in_units_of_the_noise_that_is_drawn(tmp_path: Path) -> None:
    made = stage(tmp_path, [constant_level(1.0)], passing=0)
    alpha2 = made.alpha**2
    losses = [loss(made, step) for step in range(20)]
    assert np.mean(losses) == pytest.approx(1 + alpha2, rel=0.05)  # the pixels' own noise is there, too


def test_the_push_begins_where_noise_is_turned_upside_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The level is 1.5 times the noise's; of denoisers share * x the best for it has a negative share."""
    shares = np.linspace(-0.8, 0.8, 33)
    made = stage(tmp_path, [constant_level(1.5)], passing=0)
    made.settings = made.settings.model_copy(update={"crop": 48})

    def losses() -> list[float]:
        found = []
        for share in shares:
            made.network.share = share
            found.append(np.mean([loss(made, step) for step in range(10)]))
        return found

    assert shares[np.argmin(losses())] == pytest.approx(0, abs=0.05)
    monkeypatch.setattr(RecorruptedStage, "push", 0.0)
    assert shares[np.argmin(losses())] < -0.4


class Halves(torch.nn.Module):
    """Lets half of the noise through on the left, and turns half of it upside down on the right."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left = torch.arange(x.shape[-1]) < x.shape[-1] // 2
        return torch.where(left, 0.5, -0.5) * x


def test_noise_upside_down_at_one_place_is_not_made_up_for_at_another(tmp_path: Path) -> None:
    made = stage(tmp_path, [constant_level(1.0)], side=64)
    made.settings, made.network = made.settings.model_copy(update={"crop": 64}), Halves()
    pushed = [loss(made, step) for step in range(4)]
    made.push = 0.0
    more = np.subtract(pushed, [loss(made, step) for step in range(4)])
    # Twice 2, the push, of half of z^2 in half of the crop; the loss is in units of z^2 / alpha^2.
    assert more == pytest.approx(made.alpha**2, rel=0.1)


class Sizes:
    """Of a store nothing but its sizes."""

    def __init__(self, slices: int, sums: bool = False) -> None:
        self.shapes, self.sums = [(slices, 1, 200, 180), (slices, 1, 200, 180)], sums


def test_the_fewer_values_of_noise_there_are_the_more_of_it_is_hidden(tmp_path: Path) -> None:
    white, coarse = ([replace(constant_level(0.1), texture=texture)] for texture in (WHITE, smoothed(1.2)))
    alphas = [alpha_for(Sizes(slices), white) for slices in (1, 2, 3, 13, 500)]
    assert alphas[0] == pytest.approx(50_000 / 72_000)
    assert alphas[2:] == [pytest.approx(50_000 / 216_000), LEAST_ALPHA, LEAST_ALPHA]
    assert alpha_for(Sizes(5), coarse) == MOST_ALPHA > alpha_for(Sizes(13), coarse) > LEAST_ALPHA
    assert alpha_for(Sizes(1, sums=True), white) == LEAST_ALPHA  # of a series: combined anew at each step
    assert stage(tmp_path, [constant_level(0.1)]).alpha == MOST_ALPHA
    given = make_config("fast", {"student": {"recorruption": 0.3}}).student
    assert RecorruptedStage(given, SliceStore(tmp_path), white, seed=0).alpha == 0.3


@settings(max_examples=25)
@given(
    shapes=st.lists(
        st.tuples(st.integers(1, 3), st.just(1), st.integers(12, 60), st.integers(12, 60)), min_size=1, max_size=4
    ),
    batch=st.integers(1, 9),
    crop=st.integers(16, 40),
)
def test_a_training_ends_when_each_pixel_was_in_so_many_crops(shapes: list, batch: int, crop: int) -> None:
    store, count = Sizes(0), max(1, batch // 2)
    store.shapes = shapes
    student = make_config("fast", {"student": {"batch": batch, "crop": crop, "visits": 8}}).student
    pixels = sum(slices * rows * columns for slices, _, rows, columns in shapes if min(rows, columns) >= 16)
    if not pixels:
        assert most_steps(student, store) == sys.maxsize
        return
    steps = most_steps(student, store)
    shown = [sum(box.side**2 for box in draw_boxes(shapes, 0, step, count, crop)) for step in range(steps)]
    by_chance = 5 * np.std(shown) * len(shown) ** 0.5
    assert sum(shown) == pytest.approx(8 * pixels, abs=count * crop**2 + by_chance)
    assert most_steps(student.model_copy(update={"visits": None}), store) == sys.maxsize


def test_a_crop_of_nothing_but_mask_does_not_outweigh_the_others(tmp_path: Path) -> None:
    made = stage(tmp_path, [constant_level(1.0)], passing=0)
    crops, alpha2 = made.noisy.crops, made.alpha**2
    made.noisy.crops = lambda boxes: torch.full_like(crops(boxes), 0.1)  # type: ignore[method-assign]
    assert loss(made, 0) == pytest.approx(alpha2 * 0.1**2 / LEAST)


@pytest.mark.parametrize("shifted", [0.0, 0.5, 1.0])
def test_some_crops_are_shown_darker_or_brighter_their_neighbours_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shifted: float
) -> None:
    monkeypatch.setattr(RecorruptedStage, "shifted", shifted)
    write_scan_slices(tmp_path, 0, np.random.default_rng(0).random((6, 1, 48, 48)).astype(np.float32))
    settings = make_config("fast", {"student": {"neighbours": 1, "crop": 48, "batch": 40}}).student
    made = RecorruptedStage(settings, SliceStore(tmp_path), [constant_level(0.1)], seed=0)
    crops, z, above, lost, *_ = made.batch_at(0, torch.Generator().manual_seed(0))
    boxes = draw_boxes(made.noisy.shapes, 0, 0, 20, 48)
    shift = crops - made.noisy.crops(boxes)
    torch.testing.assert_close(shift, shift.mean((2, 3), keepdim=True).expand_as(shift))
    moved = shift.abs().amax((1, 2, 3)) > 1e-6
    assert {0.0: moved.sum() == 0, 0.5: 4 < moved.sum() < 16, 1.0: moved.all()}[shifted]
    means = crops[moved].mean((1, 2, 3))
    assert ((means > -1e-5) & (means < BRIGHTEST + 1e-5)).all()
    assert z.std() == pytest.approx(0.1, rel=0.05)
    there = [made.noisy.neighbour(box, -1) or box for box in boxes]
    torch.testing.assert_close(above, made.noisy.crops(there) + shift)
    assert lost.dtype == torch.bool


CROPS = 2000


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Box], torch.Tensor, Batch]:
    """Many boxes of the preset fast in a volume whose slices have noise of their own, their crops, and their batch."""
    folder = tmp_path_factory.mktemp("volume")
    write_scan_slices(folder, 0, 0.5 + 0.1 * np.random.default_rng(0).standard_normal((20, 1, 24, 24)))
    student = make_config("fast", {"student": {"neighbours": 1, "crop": 16, "batch": 2 * CROPS}}).student
    made = RecorruptedStage(student, SliceStore(folder), [constant_level(0.1)], seed=0)
    boxes = draw_boxes(made.noisy.shapes, 0, 0, CROPS, 16)
    return boxes, made.noisy.crops(boxes), made.batch_at(0, torch.Generator().manual_seed(0))


def by_chance(share: float, count: int) -> float:
    """Four deviations of a share that is found among so many."""
    return 4 * (share * (1 - share) / count) ** 0.5


def test_of_32_crops_one_is_shown_darker_or_brighter(drawn: tuple[list[Box], torch.Tensor, Batch]) -> None:
    _, plain, batch = drawn
    moved = (batch[0] - plain).abs().amax((1, 2, 3)) > 1e-6
    assert float(moved.float().mean()) == pytest.approx(1 / 32, abs=by_chance(1 / 32, CROPS))


@pytest.mark.parametrize(("lost", "share"), [(1, 0.75 * 2 * 0.1 * 0.9), (2, 0.25 + 0.75 * 0.1**2)], ids=["one", "both"])
def test_a_quarter_of_the_crops_are_shown_alone_and_of_the_others_a_tenth_of_the_neighbours_are_left_out(
    drawn: tuple[list[Box], torch.Tensor, Batch], lost: int, share: float
) -> None:
    boxes, _, (_, _, _, no_above, _, no_below) = drawn
    inner = torch.tensor([0 < box.slice < 19 for box in boxes])
    left_out = (no_above.int() + no_below.int()).flatten()[inner]
    assert float((left_out == lost).float().mean()) == pytest.approx(share, abs=by_chance(share, len(left_out)))


def test_components_of_a_series_are_shown_as_bright_as_they_are(tmp_path: Path) -> None:
    write_scan_slices(tmp_path, 0, np.full((2, 1, 24, 24), 0.5))
    for series, shifted in ((True, 0), (None, 1 / 32), (False, 1 / 32)):
        settings = make_config("fast", {"student": {"series": series}}).student
        assert RecorruptedStage(settings, SliceStore(tmp_path), [constant_level(0.1)], seed=0).shifted == shifted


class Spy(torch.nn.Module):
    """Notes what it sees."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = x
        return x[:, :1]


def test_neighbours_are_seen_as_they_are_and_what_is_missing_never_tells_z(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    volume = draw.standard_normal((6, 1, 48, 48)).astype(np.float32)
    write_scan_slices(tmp_path, 0, volume)
    settings = make_config("fast", {"student": {"neighbours": 1, "crop": 48, "batch": 8}}).student
    made = RecorruptedStage(settings, SliceStore(tmp_path, [2]), [constant_level(1.0)], seed=0)
    made.network = Spy()
    kinds = set()
    monkeypatch.setattr(RecorruptedStage, "shifted", 0.0)
    for left_out in (0.0, 1.0):
        monkeypatch.setattr("diffdenoise.training.recorrupted.ALONE", left_out)
        monkeypatch.setattr("diffdenoise.training.recorrupted.ONE_SIDED", 0.0)
        for step in range(10):
            boxes = draw_boxes(made.noisy.shapes, 0, step, 4, 48)
            made.loss_at(step)
            plain = made.noisy.crops(boxes).repeat(2, 1, 1, 1)
            given = made.network.seen[:, :1]
            assert not torch.isclose(given, plain).flatten(1).all(1).any()
            for channel, offset in ((1, -1), (2, 1)):
                shown = made.network.seen[:, channel : channel + 1]
                for number, box in enumerate(2 * boxes):
                    there = made.noisy.neighbour(box, offset)
                    missing = there is None or left_out == 1
                    expected = given[number] if missing else made.noisy.crops([there])[0]
                    assert torch.equal(shown[number], expected)
                    kinds.add(missing)
    assert kinds == {True, False}
