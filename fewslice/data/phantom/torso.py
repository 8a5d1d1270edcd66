"""Surroundings of the heart of a synthetic patient: chest wall, lungs, liver, stomach, spine and vessels.

Much of it resembles the heart on purpose (a bright stomach with a dark wall, the aorta, the atria), since
that is what a network trained on one volume confuses. Coordinates as in `heart`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fewslice.data.phantom.heart import Heart, coverage, displace, turned, waves


@dataclass(frozen=True)
class Blob:
    """An ellipsoid with a wall. Lengths in mm; `value` and `wall_value` are intensities relative to blood."""

    x: float
    y: float
    z: float
    a: float
    b: float
    half_height: float
    angle: float
    value: float
    wall: float = 0.0
    wall_value: float = 0.0


@dataclass(frozen=True)
class Torso:
    """One patient's surroundings: outline (x, y, a, b), thickness of fat and muscle, intensities, blobs."""

    body: tuple[float, float, float, float]
    fat_mm: float
    muscle_mm: float
    values: dict[str, float]
    ribs: np.ndarray
    organs: tuple[Blob, ...]
    tilt: float
    waves: np.ndarray


def draw_values(rng: np.random.Generator) -> dict[str, float]:
    """Draws the tissue intensities of one patient and scanner, relative to an ideal blood signal of 1."""
    blood = rng.uniform(0.75, 1.1)
    myo = blood * rng.uniform(0.2, 0.42)
    return {
        "blood": blood,
        "rv_blood": blood * rng.uniform(0.82, 1.02),
        "myo": myo,
        "muscle": myo * rng.uniform(0.7, 1.1),
        "fat": rng.uniform(0.5, 1.25),
        "lung": rng.uniform(0.04, 0.22),
        "liver": rng.uniform(0.2, 0.6),
        "bone": rng.uniform(0.25, 0.6),
        "pericardium": rng.uniform(0.1, 0.9),
    }


def draw_torso(rng: np.random.Generator, heart: Heart, values: dict[str, float], *, tilt: float) -> Torso:
    """Draws the surroundings of a heart, turned by `tilt` (radians) in the image plane."""
    body = (rng.uniform(-30, 0), rng.uniform(5, 30), rng.uniform(105, 135), rng.uniform(85, 105))
    organs = _lung_vessels(rng, values) + _fat_pads(rng, values, heart)
    organs += _abdomen(rng, values, heart.z_base + heart.length) + _spine(rng, values)
    organs = [_turned(organ, tilt) for organ in organs] + _great_vessels(rng, values, heart)
    return Torso(
        body=body,
        fat_mm=rng.uniform(5, 20),
        muscle_mm=rng.uniform(4, 10),
        values=values,
        ribs=rng.uniform(0, 2 * np.pi) + np.cumsum(rng.uniform(0.22, 0.4, 18)),
        organs=tuple(organs),
        tilt=tilt,
        waves=waves(rng, count=5, amplitude=4.5, wavelength=(70, 200)),
    )


def _turned(blob: Blob, tilt: float) -> Blob:
    cosine, sine = np.cos(tilt), np.sin(tilt)
    x, y = cosine * blob.x - sine * blob.y, sine * blob.x + cosine * blob.y
    return replace(blob, x=x, y=y, angle=blob.angle + tilt)


def _abdomen(rng: np.random.Generator, values: dict[str, float], z_apex: float) -> list[Blob]:
    """Liver, stomach and spleen below the heart; they grow towards the apex."""
    uniform, liver = rng.uniform, values["liver"]
    z_low = z_apex + uniform(0, 30)
    blobs = [
        Blob(uniform(-55, -10), uniform(66, 86), z_low, uniform(55, 85), uniform(32, 48), 150, uniform(-0.2, 0.4),
             liver, 1.5, liver * 0.6)
    ]  # fmt: skip
    for _ in range(rng.integers(3, 9)):  # the liver's vessels
        blobs.append(
            Blob(uniform(-80, 10), uniform(42, 90), uniform(0, 90), uniform(2, 7), uniform(1.5, 3.5), uniform(15, 40),
                 uniform(0, 3), liver * rng.choice([0.6, 1.5, 1.9]))
        )  # fmt: skip
    for _ in range(rng.integers(1, 5)):  # stomach, spleen, bowel: ring-like, as bright as anything
        size = uniform(10, 28)
        blobs.append(
            Blob(uniform(-10, 75), uniform(46, 85), z_low - uniform(0, 70), size, size * uniform(0.6, 1),
                 uniform(30, 70), uniform(0, 3), uniform(0.1, 1.1), uniform(2, 8), values["myo"] * uniform(0.7, 1.3))
        )  # fmt: skip
    return blobs


def _fat_pads(rng: np.random.Generator, values: dict[str, float], heart: Heart) -> list[Blob]:
    """Mediastinum on the heart's right side, and pads of fat and muscle around the heart."""
    uniform, x = rng.uniform, heart.centre[0] - heart.radius - heart.rv_width
    blobs = [
        Blob(x - uniform(0, 15), uniform(-25, 15), uniform(0, 60), uniform(18, 38), uniform(35, 70), uniform(50, 130),
             uniform(-0.5, 0.2), values["fat"] * uniform(0.3, 0.8), uniform(0, 4), values["muscle"])
    ]  # fmt: skip
    tissues = [values["fat"] * 0.8, values["muscle"], values["blood"] * 0.8]
    for _ in range(rng.integers(1, 5)):
        direction, reach = uniform(0, 2 * np.pi), uniform(25, 60)
        blobs.append(
            Blob(reach * np.cos(direction) - 10, reach * np.sin(direction), uniform(-10, 90), uniform(8, 26),
                 uniform(5, 12), uniform(15, 60), direction + np.pi / 2, rng.choice(tissues, p=[0.4, 0.4, 0.2]))
        )  # fmt: skip
    return blobs


def _spine(rng: np.random.Generator, values: dict[str, float]) -> list[Blob]:
    """Spine with its canal, descending aorta, inferior vena cava."""
    uniform, blood, myo = rng.uniform, values["blood"], values["myo"]
    x, y = uniform(-45, 5), uniform(72, 95)
    return [
        Blob(x, y, 0, uniform(17, 22), uniform(14, 18), 900, 0, values["bone"], 2.0, 0.12),
        Blob(x - 3, y + 22, 0, 8, 6, 900, 0, uniform(0.7, 1.1), 2.0, 0.1),
        Blob(x + uniform(18, 34), y - uniform(8, 26), 0, *[uniform(8, 13)] * 2, 900, 0, blood * uniform(0.85, 1.05),
             uniform(1, 4), myo * uniform(0.7, 1.1)),
        Blob(uniform(-50, -25), uniform(38, 58), 60, uniform(7, 11), uniform(6, 10), 80, 0, blood * uniform(0.7, 1.0),
             1.5, myo * 0.7),
    ]  # fmt: skip


def _great_vessels(rng: np.random.Generator, values: dict[str, float], heart: Heart) -> list[Blob]:
    """Both atria and the aortic root, above and just below the valve plane."""
    uniform, centre, size = rng.uniform, np.array(heart.centre), heart.radius
    towards_rv = np.array([np.cos(heart.angle), np.sin(heart.angle)])
    atrium = centre + rng.normal(0, 4, 2)
    root = centre + towards_rv * size * 0.8 + [0, -uniform(4, 12)]
    right = centre + towards_rv * (size * 2.0) + [0, uniform(4, 14)]
    return [
        Blob(*place, heart.z_base - 18, size * scale, size * scale * uniform(0.75, 1.0), 30, uniform(0, 3),
             value * uniform(0.8, 1.05), uniform(1.5, 5), values["myo"] * uniform(0.8, 1.2))
        for place, scale, value in (
            (right, 0.95, values["rv_blood"]), (atrium, 1.2, values["blood"]), (root, 0.65, values["blood"])
        )
    ]  # fmt: skip


def _lung_vessels(rng: np.random.Generator, values: dict[str, float]) -> list[Blob]:
    uniform, blobs = rng.uniform, []
    for _ in range(rng.integers(25, 50)):
        size = rng.gamma(2.0, 0.9) + 0.7
        blobs.append(
            Blob(uniform(-100, 100), uniform(-85, 45), uniform(-10, 100), size * uniform(1, 2.5), size,
                 uniform(8, 25), uniform(0, 3), values["blood"] * uniform(0.3, 0.9))
        )  # fmt: skip
    return blobs


def paint_torso(torso: Torso, x: np.ndarray, y: np.ndarray, z: float, *, edge_mm: float) -> np.ndarray:
    """Returns the surroundings in one slice, without the heart: float32, 1 = blood, 0 outside the body.

    `x`, `y`, `z` and `edge_mm` are those of `heart.heart_masks`.
    """
    values = torso.values
    spacing = (float(x[0, 1] - x[0, 0]), float(y[1, 0] - y[0, 0]))
    origin = (float(x[0, 0]), float(y[0, 0]))
    x, y = displace(x, y, z, torso.waves)
    cx, cy, a, b = torso.body
    across, down = turned(x, y, torso.tilt)
    across, down = across - np.float32(cx), down - np.float32(cy)
    shrink = 1 - 0.0012 * z  # the chest narrows towards the apex
    q = np.sqrt((across / (a * shrink)) ** 2 + (down / (b * shrink)) ** 2)
    depth = (q - 1) * np.float32(np.sqrt(a * b))  # negative inside
    wall = np.float32(values["fat"]) * coverage(depth, edge_mm)
    inner = depth + np.float32(torso.fat_mm)
    _blend(wall, coverage(inner, edge_mm), values["muscle"])
    _ribs(torso, wall, across, down, inner + np.float32(torso.muscle_mm / 2))
    canvas = np.full_like(wall, values["lung"])
    for organ in torso.organs:
        _paint_blob(canvas, organ, (x, y), z, (origin, spacing, edge_mm))
    return wall + coverage(inner + np.float32(torso.muscle_mm), edge_mm) * (canvas - wall)


def _blend(canvas: np.ndarray, alpha: np.ndarray, value: float) -> None:
    canvas += alpha * (np.float32(value) - canvas)


def _ribs(torso: Torso, canvas: np.ndarray, x: np.ndarray, y: np.ndarray, ring: np.ndarray) -> None:
    """Paints ribs as bright, dark-rimmed spots along the muscle."""
    direction = np.arctan2(y, x)
    for angle in torso.ribs:
        arc = np.abs((direction - np.float32(angle) + np.float32(np.pi)) % np.float32(2 * np.pi) - np.float32(np.pi))
        distance = np.hypot(arc * 85, ring * 2.2)
        _blend(canvas, coverage(distance - 9, 2.0), 0.08)
        _blend(canvas, coverage(distance - 6, 2.0), torso.values["bone"])


def _paint_blob(canvas: np.ndarray, blob: Blob, grid: tuple, z: float, frame: tuple) -> None:
    """Paints one ellipsoid inside its bounding box."""
    height = 1 - ((z - blob.z) / blob.half_height) ** 2
    if height <= 0:
        return
    (origin, spacing, edge_mm), scale = frame, float(np.sqrt(height))
    reach = max(blob.a, blob.b) * scale + 16  # the displacement moves borders by a few mm
    columns = _window(blob.x, reach, origin[0], spacing[0], canvas.shape[1])
    rows = _window(blob.y, reach, origin[1], spacing[1], canvas.shape[0])
    if columns.start >= columns.stop or rows.start >= rows.stop:
        return
    part = canvas[rows, columns]
    dx, dy = grid[0][rows, columns] - np.float32(blob.x), grid[1][rows, columns] - np.float32(blob.y)
    along, across = turned(dx, dy, blob.angle)
    a, b = np.float32(1 / (blob.a * scale)), np.float32(1 / (blob.b * scale))
    q = np.sqrt((along * a) ** 2 + (across * b) ** 2)
    distance = (q - 1) * np.float32(scale * np.sqrt(blob.a * blob.b))
    if blob.wall:
        _blend(part, coverage(distance - np.float32(blob.wall), edge_mm), blob.wall_value)
    _blend(part, coverage(distance, edge_mm), blob.value)


def _window(centre: float, reach: float, origin: float, spacing: float, size: int) -> slice:
    first = int(np.floor((centre - reach - origin) / spacing))
    last = int(np.ceil((centre + reach - origin) / spacing)) + 1
    return slice(max(0, first), min(size, last))
