"""A synthetic cardiac dataset in ACDC's layout, for demonstrations and tests without real scans.

Every patient has a short-axis volume at end-diastole (ED) and end-systole (ES), labelled right ventricle (1),
myocardium (2) and left ventricle (3). Patients differ in anatomy, pose, contrast, shading, noise, field of
view and slice spacing, so that a network trained on one of them is clearly worse on the others.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from fewslice.core.errors import ConfigError, DataError
from fewslice.core.files import read_json, write_json, writing_error
from fewslice.core.locks import folder_lock
from fewslice.data.io.nifti import write_nifti
from fewslice.data.phantom.heart import Heart, draw_heart, heart_masks, label_slice
from fewslice.data.phantom.scanner import acquire, draw_scanner
from fewslice.data.phantom.torso import draw_torso, draw_values, paint_torso

VERSION = 1  # raise it whenever a change alters the images
MAX_PATIENTS = 999


@dataclass(frozen=True, eq=False)
class PhantomVolume:
    """One phase of one patient: image int16 and label uint8 (X, Y, Z), frame number counted from 1."""

    image: np.ndarray
    label: np.ndarray
    frame: int


@dataclass(frozen=True, eq=False)
class PhantomPatient:
    """One synthetic patient: both phases, the spacing (x, y, z) in mm and the entries of Info.cfg."""

    end_diastole: PhantomVolume
    end_systole: PhantomVolume
    spacing_mm: tuple[float, float, float]
    info: dict[str, str]


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels lie: spacing (x, y, z) in mm, shape (slices, rows, columns), shift of each slice."""

    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    jitter_mm: np.ndarray  # (slices, 2) float32

    @property
    def edge_mm(self) -> float:
        """Width of the border over which a pixel is shared by two tissues."""
        return 1.2 * self.spacing_mm[0]

    def plane(self, index: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Returns x and y float32 (rows, columns) and z of a slice, in mm; x and y from the middle."""
        rows, columns = ((np.arange(size) - (size - 1) / 2) * self.spacing_mm[0] for size in self.shape[1:])
        y, x = np.meshgrid(rows.astype(np.float32), columns.astype(np.float32), indexing="ij")
        return x - self.jitter_mm[index, 0], y - self.jitter_mm[index, 1], index * self.spacing_mm[2]


def make_patient(patient: int, *, seed: int = 0) -> PhantomPatient:
    """Makes one patient in memory (about 0.3 s), a pure function of `patient` and `seed`."""
    rng = np.random.default_rng([seed, patient])
    spacing = (*[round(rng.uniform(1.3, 1.9), 4)] * 2, round(rng.uniform(8, 10), 1))
    shape = (int(rng.integers(110, 131)), int(rng.integers(110, 131)))  # rows, columns
    length = rng.uniform(58, 92)
    z_base = rng.uniform(0.1, 1.4) * spacing[2]
    slices = int(np.clip(round((z_base + length) / spacing[2] + rng.uniform(-0.2, 1.2)), 7, 12))
    tilt = rng.normal(0, 0.2)
    heart = draw_heart(rng, z_base=z_base, length=length, tilt=tilt)
    torso = draw_torso(rng, heart, draw_values(rng), tilt=tilt)
    scanner = draw_scanner(rng)
    jitter = rng.normal(0, 0.9, (slices, 2))  # mm; breath-holds differ from slice to slice
    grid = Grid(spacing, (slices, *shape), jitter.astype(np.float32))
    surroundings = np.stack([paint_torso(torso, *grid.plane(k), edge_mm=grid.edge_mm) for k in range(slices)])
    num_frames, es_frame = int(rng.integers(20, 31)), int(rng.integers(7, 13))
    volumes = []
    for phase, (beating, frame) in enumerate([(heart, 1), (heart.contracted(rng), es_frame)]):
        phase_rng = np.random.default_rng([seed, patient, phase])
        tissue, label = _render(beating, surroundings, torso.values, grid, phase_rng)
        image = acquire(scanner, tissue, phase_rng)
        # From (slice, row, column) to the NIfTI order x, y, z.
        volumes.append(PhantomVolume(image.transpose(2, 1, 0), label.transpose(2, 1, 0), frame))
    info = {
        "ED": "1",
        "ES": str(es_frame),
        "Group": heart.group,
        "Height": f"{rng.normal(170, 10):.1f}",
        "NbFrame": str(num_frames),
        "Weight": f"{rng.normal(74, 12):.1f}",
    }
    return PhantomPatient(*volumes, spacing_mm=spacing, info=info)


def _render(
    heart: Heart, surroundings: np.ndarray, values: dict[str, float], grid: Grid, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ideal signal float32 and the label uint8, both (slices, rows, columns)."""
    texture = _textures(grid.shape, rng)
    tissue, label = np.empty(grid.shape, np.float32), np.empty(grid.shape, np.uint8)
    for index, surrounding in enumerate(surroundings):
        coarse, fine, flow = texture[:, index]
        masks = heart_masks(heart, *grid.plane(index), thickness_mm=grid.spacing_mm[2] * 0.8, edge_mm=grid.edge_mm)
        canvas = surrounding * (1 + np.float32(0.08) * coarse)
        total = masks.rv + masks.myo + masks.lv + masks.wall
        _pericardium(canvas, total, values["pericardium"], grid.spacing_mm[0], flow)
        # Trabeculae darken blood along the LV's inner border and throughout the RV; flow shades it smoothly.
        in_lv = np.clip(masks.papillary + masks.lv * masks.rim**2 * np.clip(fine - 0.3, 0, 1), 0, 1)
        in_rv = np.clip(fine + flow * 0.6 - 0.9, 0, 1) * 0.55
        left = values["blood"] * (1 + 0.06 * flow)
        right = values["rv_blood"] * (1 + 0.08 * flow)
        myo = values["myo"] * (1 + 0.08 * flow + 0.06 * fine)
        signal = masks.lv * left - in_lv * (left - myo) * (masks.lv > 0)
        signal += masks.rv * (right - in_rv * (right - myo)) + (masks.myo + masks.wall) * myo
        tissue[index] = canvas * (1 - np.clip(total, 0, 1)) + signal
        label[index] = label_slice(masks)
    return tissue, label


def _textures(shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """Returns three random fields of unit variance (3, slices, rows, columns): coarse, fine, very smooth."""
    noise = rng.standard_normal((3, *shape), dtype=np.float32)
    for field, sigma in zip(noise, (1.5, 1.2, 5.0), strict=True):
        ndimage.gaussian_filter(field, (0.3, sigma, sigma), output=field, truncate=2.5)
        field /= field.std()
    return noise


def _pericardium(canvas: np.ndarray, heart: np.ndarray, value: float, spacing: float, patches: np.ndarray) -> None:
    """Lays patchy fat around the heart, in place."""
    if heart.max() < 0.5:
        return
    halo = np.clip(ndimage.gaussian_filter(np.clip(heart, 0, 1), 3.2 / spacing, truncate=2.5) * 3, 0, 1)
    halo *= np.clip(patches + 0.6, 0, 1)
    canvas += halo * (np.float32(value) - canvas)


def generate_phantom(
    folder: str | Path, num_patients: int = 40, *, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Writes patients 001, 002, ... below `folder` in ACDC's layout; those that are there are kept.

    A patient's folder is complete or absent, also after a kill, and depends on nothing but `seed` and its
    number, so the call can be repeated and `num_patients` raised later. About 0.3 s and 0.4 MB per patient.

    Args:
        folder: Where `patientNNN/` folders go. Created if absent.
        num_patients: How many, 1 to 999.
        seed: Another seed is another dataset and needs another folder.
        progress: Called with (patients done, patients in all) after each patient.

    Returns:
        `folder` as a path.

    Raises:
        ConfigError: `num_patients` or `seed` is out of range.
        DataError: `folder` holds patients of another seed or version.
        FewSliceError: a file cannot be written.
    """
    folder = Path(folder)
    if not 1 <= num_patients <= MAX_PATIENTS:
        raise ConfigError(f"`num_patients` must be between 1 and {MAX_PATIENTS}. Received: num_patients={num_patients}")
    if seed < 0:
        raise ConfigError(f"`seed` must not be negative. Received: seed={seed}")
    _claim(folder, {"dataset": "phantom", "seed": seed, "version": VERSION})
    with folder_lock(folder):
        for half in folder.glob(".patient*"):  # of a process that was killed while it wrote
            shutil.rmtree(half, ignore_errors=True)
        for patient in range(1, num_patients + 1):
            target = folder / f"patient{patient:03d}"
            if not target.is_dir():
                _write_patient(target, make_patient(patient, seed=seed))
            if progress is not None:
                progress(patient, num_patients)
    return folder


def _claim(folder: Path, identity: dict) -> None:
    """Notes the identity of a phantom in `folder`, or raises if the folder holds something else."""
    note = folder / "phantom.json"
    if note.is_file():
        held = read_json(note)
        if held != identity:
            expected = f"a phantom of seed {identity['seed']} (version {identity['version']})"
            found = f"seed {held.get('seed')} (version {held.get('version')})" if isinstance(held, dict) else "?"
            remedy = "Choose another --output, or delete the folder to make it anew."
            raise DataError(note, expected=expected, found=found, remedy=remedy)
        return
    if folder.is_dir() and any(folder.glob("patient*")):
        expected, found = "an empty folder or a phantom dataset", "patient folders that were not made here"
        raise DataError(folder, expected=expected, found=found, remedy="Choose another --output; nothing was changed.")
    write_json(note, identity)


def _write_patient(target: Path, patient: PhantomPatient) -> None:
    """Writes one patient into a temporary folder beside `target` and renames it."""
    name = target.name
    scale = np.array(patient.spacing_mm) * [-1, -1, 1]  # x and y run as in ACDC
    affine = np.diag([*scale, 1.0])
    affine[:3, 3] = -scale * (np.array(patient.end_diastole.image.shape) - 1) / 2  # 0 in the middle of the volume
    temporary = None
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=target.parent))
        for volume in (patient.end_diastole, patient.end_systole):
            for suffix, array in (("", volume.image), ("_gt", volume.label)):
                path = temporary / f"{name}_frame{volume.frame:02d}{suffix}.nii.gz"
                write_nifti(path, array, like=None, affine=affine, spacing_mm=patient.spacing_mm)
        text = "".join(f"{key}: {value}\n" for key, value in patient.info.items())
        (temporary / "Info.cfg").write_text(text, encoding="utf-8")
        temporary.chmod(0o755)
        temporary.rename(target)
    except OSError as error:
        raise writing_error(target, error) from error
    finally:
        if temporary is not None and temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)
