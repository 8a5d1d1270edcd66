"""Kinds of NIfTI headers that scans come with, written byte by byte so that no library mends them."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

SPACING = (1.6, 1.4, 9.0)


def turn(degrees: float, axis: int = 2) -> np.ndarray:
    """Returns (4, 4): a rotation about an axis of the body."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix, (first, second) = np.eye(4), [other for other in range(3) if other != axis]
    matrix[[first, first, second, second], [first, second, first, second]] = cos, -sin, sin, cos
    return matrix


def placed(*signs: int, order: tuple[int, int, int] = (0, 1, 2), spacing=SPACING) -> np.ndarray:
    """Returns the affine whose stored axis i runs along the body's axis order[i], with a sign."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (sign, row) in enumerate(zip(signs, order, strict=True)):
        affine[row, column] = sign * spacing[column]
    affine[:3, 3] = 12.5, -31.0, 40.0
    return affine


LPS = placed(-1, -1, 1)
SHEAR = LPS @ np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
UNIT = np.diag([-1.0, -1.0, 1.0, 1.0])
KINDS = {  # name -> sform, its code, qform, its code, pixdim
    "usual": (LPS, 1, LPS, 1, SPACING),
    "sform_only": (LPS, 2, None, 0, SPACING),
    "qform_only": (None, 0, LPS, 1, SPACING),
    "no_codes": (None, 0, None, 0, SPACING),
    "unit_scale": (UNIT, 2, None, 0, SPACING),
    "pixdim_1": (LPS, 2, None, 0, (1.0, 1.0, 1.0)),
    "wrong_sform": (np.eye(4), 1, LPS, 1, SPACING),
    "wrong_sform_4": (np.eye(4), 4, LPS, 2, SPACING),
    "shear": (SHEAR, 1, LPS, 1, SPACING),
    "oblique": (turn(20, 0) @ turn(-13) @ LPS, 1, turn(20, 0) @ turn(-13) @ LPS, 1, SPACING),
    "mirrored": (placed(1, -1, 1), 1, placed(1, -1, 1), 1, SPACING),
    "head_first": (placed(-1, 1, -1), 1, placed(-1, 1, -1), 1, SPACING),
    "rows_swapped": (placed(1, -1, -1, order=(1, 0, 2)), 1, placed(1, -1, -1, order=(1, 0, 2)), 1, SPACING),
    "sagittal": (placed(-1, 1, -1, order=(2, 1, 0)), 1, placed(-1, 1, -1, order=(2, 1, 0)), 1, SPACING),
}


def write(path: Path, array: np.ndarray, kind: str) -> Path:
    """Writes a scan or label with a kind of header."""
    sform, sform_code, qform, qform_code, pixdim = KINDS[kind]
    header = nib.Nifti1Header()
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    header.set_xyzt_units("mm")
    header.set_zooms(pixdim)
    if qform is not None:
        header.set_qform(qform, qform_code)
    if sform is not None:
        header.set_sform(sform, sform_code)
    header["pixdim"][1:4] = pixdim
    header["magic"], header["vox_offset"] = b"n+1", 352
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4) + array.tobytes(order="F"), mtime=0))
    return path
