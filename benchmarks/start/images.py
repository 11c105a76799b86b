"""Synthetic anatomy: random images with the edges, textures and shading of medical ones, and nothing of a patient.

Opaque leaves of all sizes that hide each other (the dead leaves model: Lee, Mumford & Huang 2001; for training
denoisers: Achddou, Gousseau & Ladjal 2021) look like cut organs, translucent ones that add up like a radiograph.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from diffdenoise.normalisation import measure_range, normalise

FINE = 2  # drawn so many times larger, then averaged: edges lie between pixels, too
FIELDS, FOLDS = 24, 12  # textures of either kind that the images of one call share
SMALLEST = 3.0  # pixels; radius of a leaf, as drawn

Array = np.ndarray  # (rows, columns), float32
Box = tuple[slice, slice]


def synthetic_images(count: int, side: int, seed: int) -> np.ndarray:
    """(count, side, side), float32, about [0, 1] as slices are when a network sees them."""
    random = np.random.default_rng(seed)
    large = FINE * side
    textures = [power_law(random, large, random.uniform(0.6, 2.4)) for _ in range(FIELDS)]
    textures += [folds(random, large, random.uniform(6, 30)) for _ in range(FOLDS)]
    doubled = [np.tile(texture, (2, 2)) for texture in textures]  # a piece from any place is then a plain slice
    return np.stack([_image(random, side, doubled) for _ in range(count)])


def power_law(random: Generator, side: int, exponent: float) -> Array:
    """A periodic random field of mean 0 and deviation 1 whose amplitudes fall as 1 / frequency^exponent."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(np.fft.rfft2(random.standard_normal((side, side))) / frequency**exponent, (side, side))
    return (field / field.std()).astype(np.float32)


def folds(random: Generator, side: int, width: float) -> Array:
    """A periodic labyrinth of bands about so many pixels wide, of few grey values (gyri, trabeculae); deviation 1."""
    white = random.standard_normal((side, side))
    field = gaussian_filter(white, width / 3, mode="wrap") - gaussian_filter(white, width / 2, mode="wrap")
    cuts = np.sort(random.uniform(0.1, 0.9, random.integers(1, 4)))
    bands = np.digitize(field, np.quantile(field, cuts)).astype(np.float32)
    return (bands - bands.mean()) / bands.std()


def _image(random: Generator, side: int, textures: list[Array]) -> Array:
    large, translucent = FINE * side, random.random() < 0.35
    canvas = np.full((large, large), random.uniform(0, 1), np.float32)
    if translucent:
        canvas += random.uniform(0, 0.3) * power_law(random, large, random.uniform(1.5, 2.5))
    for _ in range(random.integers(20, 80) if translucent else random.integers(80, 350)):
        _leaf(canvas, random, textures, translucent)
    for _ in range(random.integers(0, 25)):
        _vessel(canvas, random)
    canvas *= 1 + random.uniform(0, 0.3) * gaussian_filter(power_law(random, large, 3), 4)
    if random.random() < 0.6:
        _air(canvas, random)
    canvas = gaussian_filter(canvas, FINE * random.uniform(0.25, 1.3))  # the scanner's own resolution
    image = canvas.reshape(side, FINE, side, FINE).mean((1, 3), dtype=np.float32)
    return normalise(image, *measure_range(image))


def _leaf(canvas: Array, random: Generator, textures: list[Array], translucent: bool) -> None:
    """An organ: of one grey value, with a texture, brighter on one side; many small ones, few large ones."""
    side, power = len(canvas), random.uniform(0.4, 1.6)
    low, high = SMALLEST**-power, (side / 3) ** -power
    radius = (low + random.random() * (high - low)) ** (-1 / power)  # density ~ radius^-(1 + power)
    found = _filled(_outline(random, radius) + random.uniform(-0.1, 1.1, 2) * side, side)
    if found is None:
        return
    box, mask = found
    rows, columns = (np.arange(part.stop - part.start, dtype=np.float32) for part in box)
    texture, shift = textures[random.integers(len(textures))], random.integers(side, size=2)
    grain = texture[shift[0] : shift[0] + len(rows), shift[1] : shift[1] + len(columns)]
    slope = random.normal(0, 0.3, 2) / side * random.choice([0, 1, 2])
    shade = slope[0] * (rows - rows.mean())[:, None] + slope[1] * (columns - columns.mean())[None]
    inside = 10 ** random.uniform(-2.5, -0.8) * grain + shade
    if translucent:
        canvas[box] += mask * (random.normal(0, 0.25) + inside)
    else:
        canvas[box][mask] = random.uniform(0, 1) + inside[mask]


def _vessel(canvas: Array, random: Generator) -> None:
    """A line that bends, 1 to 8 pixels wide as drawn."""
    steps = random.integers(10, 80)
    heading = random.uniform(0, 2 * np.pi) + np.cumsum(random.normal(0, random.uniform(0.05, 0.4), steps))
    path = 4 * np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1), 0)
    drawn = Image.new("1", canvas.shape)
    line = [tuple(point) for point in random.uniform(0, len(canvas), 2) + path]
    ImageDraw.Draw(drawn).line(line, fill=1, width=int(random.integers(1, 9)))
    mask = np.asarray(drawn)
    canvas[mask] = canvas[mask] + random.normal(0, 0.25) if random.random() < 0.5 else random.uniform(0, 1)


def _air(canvas: Array, random: Generator) -> None:
    """Nothing, or next to nothing, outside of a body."""
    side = len(canvas)
    found = _filled(_outline(random, random.uniform(0.3, 0.7) * side) + random.uniform(0.3, 0.7, 2) * side, side)
    outside = np.ones(canvas.shape, bool)
    if found is not None:
        outside[found[0]] = ~found[1]
    canvas[outside] = 0 if random.random() < 0.7 else random.uniform(0, 0.2)


def _outline(random: Generator, radius: float) -> np.ndarray:
    """A closed wavy line around 0, (points, 2)."""
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    waves = [random.normal(0, 0.35 / k) * np.cos(k * angle + random.uniform(0, 2 * np.pi)) for k in range(2, 7)]
    distance = radius * np.clip(1 + np.sum(waves, 0) * random.choice([0, 0.5, 1]), 0.15, 3)
    points = np.stack([distance * np.cos(angle), random.uniform(0.3, 1) * distance * np.sin(angle)], 1)
    turn = random.uniform(0, np.pi)
    return points @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])


def _filled(points: np.ndarray, side: int) -> tuple[Box, np.ndarray] | None:
    """The part of the image that a polygon (points, 2: column, row) lies in, and its pixels there; None outside."""
    low = np.maximum(np.floor(points.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(points.max(0)).astype(int) + 1, side)
    if (high <= low).any():
        return None
    drawn = Image.new("1", (int(high[0] - low[0]), int(high[1] - low[1])))
    ImageDraw.Draw(drawn).polygon([tuple(point) for point in points - low], fill=1)
    return (slice(low[1], high[1]), slice(low[0], high[0])), np.asarray(drawn)
