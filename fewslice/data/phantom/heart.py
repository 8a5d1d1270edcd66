"""The heart of a synthetic patient: the geometry that varies between patients, and the masks of its tissues in a slice.

Coordinates are millimetres in the image plane, relative to the middle of the field of view: `x` grows along
the columns, `y` along the rows (downwards on screen), `z` from the base towards the apex, 0 at the first
slice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

Range = tuple[float, float]


class _Group(NamedTuple):
    """Ranges of one of ACDC's diagnostic groups; lengths at end-diastole in mm."""

    radius: Range
    wall: Range
    ratio: Range  # end-systolic / end-diastolic radius
    septum: Range
    rv_width: Range


_GROUPS = {
    "NOR": _Group((20, 25), (7, 10), (0.58, 0.70), (0.0, 0.15), (22, 30)),
    "DCM": _Group((27, 32), (6, 9), (0.82, 0.92), (0.0, 0.10), (20, 28)),
    "HCM": _Group((17, 22), (10, 15), (0.45, 0.60), (0.1, 0.45), (18, 26)),
    "MINF": _Group((22, 28), (7, 10), (0.70, 0.84), (0.0, 0.10), (20, 28)),
    "RV": _Group((18, 22), (7, 10), (0.58, 0.72), (-0.1, 0.1), (32, 40)),
}


@dataclass(frozen=True)
class Heart:
    """Geometry of one heart in one phase. Lengths in mm, angles in radians."""

    group: str  # ACDC's diagnostic group
    radius: float  # of the left ventricle's cavity at the base
    wall: float  # mean thickness of the myocardium
    septum: float  # relative thickening of the wall on the side of the right ventricle
    thin: float  # relative thinning of an infarcted sector, 0 without one
    thin_angle: float  # direction of that sector
    ellipticity: float  # of the left ventricle
    rv_width: float  # how far the right ventricle reaches beyond the left one, at the base
    rv_start: float  # where the right ventricle begins, as a fraction of the long axis from the base
    rv_end: float  # where it ends
    bullet: float  # exponent of the long-axis profile; larger is blunter
    z_base: float  # position of the valve plane
    length: float  # from the valve plane to the apex
    centre: tuple[float, float]  # position (x, y) of the left ventricle at z = 0
    slope: tuple[float, float]  # shift (x, y) of that centre per mm of z
    angle: float  # direction from the left to the right ventricle
    twist: float  # change of that direction per mm of z
    papillary: np.ndarray  # rows (direction, distance, size, elongation), the middle two over the cavity's radius
    waves: np.ndarray  # (k, 6) smooth deformation of the outline, see `waves`

    def contracted(self, rng: np.random.Generator) -> Heart:
        """Returns this heart at end-systole: smaller cavities, thicker wall, base drawn towards the apex."""
        ratio = rng.uniform(*_GROUPS[self.group].ratio)
        length = self.length * (1 - 0.3 * (1 - ratio) - rng.uniform(0.0, 0.05))
        radius = self.radius * ratio
        area = ((self.radius + self.wall) ** 2 - self.radius**2) * self.length / length
        return replace(
            self,
            radius=radius,
            wall=np.sqrt(radius**2 + area) - radius,
            rv_width=self.rv_width * min(0.95, ratio + rng.uniform(-0.05, 0.12)),
            rv_end=self.rv_end * rng.uniform(0.85, 1.0),
            z_base=self.z_base + self.length - length,
            length=length,
        )


@dataclass(frozen=True)
class HeartMasks:
    """Fractions of a pixel that each tissue fills, float32 in [0, 1] of the slice's shape.

    `wall` is the right ventricle's thin free wall (not labelled), `papillary` lies inside `lv`, `rim` is 1 at
    the inner border of the left ventricle and falls to 0 towards its middle.
    """

    rv: np.ndarray
    myo: np.ndarray
    lv: np.ndarray
    wall: np.ndarray
    papillary: np.ndarray
    rim: np.ndarray


def waves(rng: np.random.Generator, *, count: int, amplitude: float, wavelength: tuple[float, float]) -> np.ndarray:
    """Returns the table (count, 6) of a smooth random displacement: wave vector, 2 phases, 2 amplitudes."""
    length, direction = rng.uniform(*wavelength, count), rng.uniform(0, 2 * np.pi, count)
    number = 2 * np.pi / length
    phases = rng.uniform(0, 2 * np.pi, (2, count))
    amplitudes = rng.normal(0, amplitude / np.sqrt(count), (2, count))
    return np.stack([number * np.cos(direction), number * np.sin(direction), *phases, *amplitudes], axis=1)


def displace(x: np.ndarray, y: np.ndarray, z: float, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns `x` and `y` moved by the displacement of `waves`, which changes slowly with `z`."""
    dx, dy = np.zeros_like(x), np.zeros_like(y)
    for kx, ky, phase_x, phase_y, amplitude_x, amplitude_y in table.astype(np.float32):
        argument = kx * x + ky * y + np.float32(0.03 * z)
        dx += amplitude_x * np.sin(argument + phase_x)
        dy += amplitude_y * np.sin(argument + phase_y)
    return x + dx, y + dy


def turned(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns float32 positions along and across the direction `angle`."""
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cosine * x + sine * y, cosine * y - sine * x


def draw_heart(rng: np.random.Generator, *, z_base: float, length: float, tilt: float) -> Heart:
    """Draws a heart at end-diastole, placed so that both ventricles together are near the middle."""
    group = str(rng.choice(sorted(_GROUPS)))
    ranges = _GROUPS[group]
    radius, wall, rv_width = (rng.uniform(*limits) for limits in (ranges.radius, ranges.wall, ranges.rv_width))
    angle = np.pi + rng.normal(0.25, 0.2) + tilt
    slope = rng.uniform(-0.14, 0.14, 2)
    middle = np.array([np.cos(angle), np.sin(angle)]) * rv_width / 2
    centre = rng.uniform(-7, 7, 2) - middle - slope * (z_base + length / 3)
    return Heart(
        group=group,
        radius=radius,
        wall=wall,
        septum=rng.uniform(*ranges.septum),
        thin=rng.uniform(0.35, 0.6) if group == "MINF" else 0.0,
        thin_angle=rng.uniform(0, 2 * np.pi),
        ellipticity=rng.uniform(-0.10, 0.10),
        rv_width=rv_width,
        rv_start=rng.uniform(-0.16, 0.04),
        rv_end=rng.uniform(0.72, 0.95),
        bullet=rng.uniform(2.0, 3.0),
        z_base=z_base,
        length=length,
        centre=(centre[0], centre[1]),
        slope=(slope[0], slope[1]),
        angle=angle,
        twist=rng.uniform(-0.005, 0.005),
        papillary=_papillary(rng),
        waves=waves(rng, count=5, amplitude=1.8, wavelength=(35, 80)),
    )


def _papillary(rng: np.random.Generator) -> np.ndarray:
    directions = [rng.uniform(1.5, 2.5), rng.uniform(3.8, 4.8), *rng.uniform(0, 2 * np.pi, rng.integers(0, 3))]
    sizes = [*rng.uniform(0.14, 0.27, 2), *rng.uniform(0.06, 0.12, len(directions) - 2)]
    distances, elongation = rng.uniform(0.55, 0.85, len(directions)), rng.uniform(0.6, 1.6, len(directions))
    return np.stack([directions, distances, sizes, elongation], axis=1)


def coverage(distance: np.ndarray, edge_mm: float) -> np.ndarray:
    """Returns the filled fraction of each pixel from the signed distance (mm, negative inside)."""
    return np.clip(np.float32(0.5) - distance * np.float32(1 / edge_mm), 0, 1)


def _profile(t: float, bullet: float) -> float:
    return float(np.sqrt(max(0.0, 1 - max(t, 0.0) ** bullet)))


def _at(heart: Heart, x: np.ndarray, y: np.ndarray, z: float, edge_mm: float) -> list[np.ndarray]:
    """Returns the masks of `HeartMasks`, in its order, in an infinitely thin slice."""
    t = (z - heart.z_base) / heart.length
    x, y = displace(
        x - (heart.centre[0] + heart.slope[0] * z), y - (heart.centre[1] + heart.slope[1] * z), z, heart.waves
    )
    u, v = turned(x, y, heart.angle + heart.twist * (z - heart.z_base))  # u points to the right ventricle
    e = np.float32(1 + heart.ellipticity)
    distance = np.hypot(u * e, v / e) + np.float32(1e-3)
    outer = (heart.radius + heart.wall) * _profile(t, heart.bullet)
    inner = heart.radius * _profile(t / 0.93, heart.bullet)
    thickness = heart.septum * u * e / distance  # cosine of the direction
    if heart.thin:
        towards = (np.cos(heart.thin_angle) * u + np.sin(heart.thin_angle) * v) / distance
        thickness = thickness - np.float32(heart.thin) * np.clip(towards * 2 - 1, 0, 1)
    outer_distance = distance - outer - heart.wall * 0.6 * thickness.astype(np.float32)
    epi = coverage(outer_distance, edge_mm)
    lv = coverage(distance - np.float32(inner), edge_mm) * epi
    present = np.float32(0 <= t < 1)
    rv, wall = _right(heart, u, v, t, edge_mm)
    papillary, rim = _inside(heart, u, v, inner, edge_mm)
    papillary = papillary * np.float32(np.clip(min(t - 0.08, 0.9 - t) * 8, 0, 1))
    shadow = 1 - epi  # above the valve plane the left atrium is in the right ventricle's way
    return [rv * shadow, (epi - lv) * present, lv * present, wall * shadow, papillary * lv * present, rim]


def _right(heart: Heart, u: np.ndarray, v: np.ndarray, t: float, edge_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the outline of the right ventricle (the left one not yet cut out) and of its wall."""
    if not heart.rv_start <= t < heart.rv_end:
        return np.zeros_like(u), np.zeros_like(u)
    fraction = _profile(t / heart.rv_end, 2.0)
    epi = (heart.radius + heart.wall) * _profile(t, heart.bullet)
    outflow = max(0.0, 1 - max(t, 0.0) / 0.45)
    half_width = heart.rv_width * fraction + 0.3 * epi
    half_height = epi * (0.6 + 0.5 * fraction) * (1 + 0.12 * outflow)
    along, across = u - np.float32(0.7 * epi), v - np.float32(7 * outflow * np.sign(np.cos(heart.angle)) * -1)
    across = across + np.float32(0.004) * along * np.abs(along)  # bends the crescent
    q = np.sqrt((along / half_width) ** 2 + (across / half_height) ** 2)
    distance = (q - 1) * np.float32(np.sqrt(half_width * half_height))
    return coverage(distance, edge_mm), coverage(distance - 2.5, edge_mm) - coverage(distance, edge_mm)


def _inside(heart: Heart, u: np.ndarray, v: np.ndarray, inner: float, edge_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the papillary muscles and the closeness to the inner border."""
    papillary = np.zeros_like(u)
    for direction, place, size, elongation in heart.papillary:
        along, across = turned(u, v, direction)
        distance = np.hypot(along - np.float32(place * inner), across * np.float32(elongation))
        distance -= np.float32(size * inner)
        papillary = np.maximum(papillary, coverage(distance, edge_mm))
    rim = np.clip((np.hypot(u, v) / np.float32(max(inner, 1.0)) - np.float32(0.6)) / np.float32(0.4), 0, 1)
    return papillary, rim


def heart_masks(
    heart: Heart, x: np.ndarray, y: np.ndarray, z: float, *, thickness_mm: float, edge_mm: float
) -> HeartMasks:
    """Returns the tissue fractions in a slice of `thickness_mm` around `z` (mean over three depths).

    `x` and `y` are the positions of columns and rows in mm, float32 (rows, columns); two tissues share the pixels of a
    border of `edge_mm`.
    """
    depths = [_at(heart, x, y, z + thickness_mm * offset, edge_mm) for offset in (-0.33, 0.0, 0.33)]
    return HeartMasks(*(sum(parts) / np.float32(3) for parts in zip(*depths, strict=True)))


def label_slice(masks: HeartMasks) -> np.ndarray:
    """Returns the label, uint8, the tissue that fills most of each pixel (0 none, 1 RV, 2 myocardium, 3 LV)."""
    background = 1 - masks.rv - masks.myo - masks.lv
    return np.argmax(np.stack([background, masks.rv, masks.myo, masks.lv]), axis=0).astype(np.uint8)
