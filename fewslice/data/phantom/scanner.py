"""Effects of the scanner on a synthetic patient: blur, coil shading, banding, ghosts, noise, its own units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Scanner:
    """One patient's acquisition."""

    blur_px: float  # standard deviation of the point spread
    noise: float  # standard deviation in each channel, relative to blood
    gamma: float  # exponent of the intensity curve
    shading: np.ndarray  # (6,) coefficients of the log of the bias field: 1, x, y, xy, x^2, y^2 on [-1, 1]
    coil: tuple[float, float, float, float]  # position (x, y) on [-1, 1], strength and width of a bright spot below it
    ghost: tuple[float, float]  # strength and shift (fraction of the rows) of a ghost image
    bands: tuple[float, float, float, float]  # strength, direction, period (pixels), phase of dark off-resonance bands
    gain: float  # scanner units per unit of blood signal


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """Draws the acquisition of one patient."""
    angle = rng.uniform(-np.pi, 0.3)  # the coil lies on the chest, mostly above or to the right
    return Scanner(
        blur_px=rng.uniform(0.3, 0.75),
        noise=rng.uniform(0.01, 0.04),
        gamma=rng.uniform(0.85, 1.2),
        shading=rng.normal(0, [0, 0.18, 0.18, 0.1, 0.12, 0.12]),
        coil=(np.cos(angle), np.sin(angle), rng.uniform(0.0, 0.8), rng.uniform(0.5, 1.0)),
        ghost=(float(rng.choice([0.0, rng.uniform(0.03, 0.09)])), rng.uniform(0.3, 0.5)),
        bands=(float(rng.choice([0.0, rng.uniform(0.3, 0.8)])), *rng.uniform([0, 18, 0], [np.pi, 40, 6])),
        gain=float(np.exp(rng.uniform(np.log(120), np.log(900)))),
    )


def bias_field(scanner: Scanner, shape: tuple[int, int]) -> np.ndarray:
    """Returns the smooth multiplicative field of a slice, float32 (rows, columns), with mean 1."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, size, dtype=np.float32) for size in shape), indexing="ij")
    terms = (np.ones_like(x), x, y, x * y, x * x, y * y)
    field = np.exp(sum(np.float32(weight) * term for weight, term in zip(scanner.shading, terms, strict=True)))
    coil_x, coil_y, strength, width = (np.float32(value) for value in scanner.coil)
    field += strength * np.exp(-((x - coil_x) ** 2 + (y - coil_y) ** 2) / (2 * width**2))
    return field / field.mean()


def _band_field(scanner: Scanner, shape: tuple[int, int]) -> np.ndarray:
    strength, direction, period, phase = scanner.bands
    if not strength:
        return np.ones(shape, np.float32)
    rows, columns = np.meshgrid(*(np.arange(size, dtype=np.float32) for size in shape), indexing="ij")
    along = np.cos(direction) * columns + np.sin(direction) * rows
    far = np.hypot(columns / shape[1] - 0.5, rows / shape[0] - 0.5)
    dark = np.clip(np.sin(2 * np.pi * along / period + phase) * 4 - 2.6, 0, 1) * np.clip(far * 6 - 1.7, 0, 1)
    return (1 - strength * dark).astype(np.float32)


def acquire(scanner: Scanner, tissue: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the scan of a volume in scanner units, int16 >= 0, with Rician noise.

    `tissue` is the ideal signal, float32 (slices, rows, columns), 1 = blood.
    """
    shape = tissue.shape[1:]
    signal = (
        np.maximum(tissue, 0) ** np.float32(scanner.gamma) * bias_field(scanner, shape) * _band_field(scanner, shape)
    )
    strength, shift = scanner.ghost
    if strength:
        signal = signal + np.float32(strength) * np.roll(signal, round(shift * shape[0]), axis=1)
    signal = ndimage.gaussian_filter(signal, (0, scanner.blur_px, scanner.blur_px), truncate=3)
    noise = rng.standard_normal((2, *tissue.shape), dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, (0, 0, 0.5, 0.5), truncate=2)  # as after the scanner's own interpolation
    noise *= np.float32(scanner.noise / noise.std())
    return np.rint(np.hypot(signal + noise[0], noise[1]) * np.float32(scanner.gain)).clip(0, 32767).astype(np.int16)
