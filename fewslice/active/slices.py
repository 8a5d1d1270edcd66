"""The slices of prepared volumes as a pool: every slice is a unit, the volumes one after the other.

Nothing is copied: images, masks and scribbles are read from the memory-mapped volumes slice by slice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fewslice.active.measures.metadata import PHASES, patient_metadata
from fewslice.active.measures.pixels import PixelStore, open_pixel_store, resize_nearest, write_pixel_store
from fewslice.active.units import Pool, make_pool
from fewslice.core import files
from fewslice.core.errors import ConfigError, DataError
from fewslice.data.cache import PreparedSet, PreparedVolume

IMAGE, SCRIBBLE = "image", "scribble"


def unit_name(case_id: str, index: int) -> str:
    """Returns the name of a slice, such as "001_ED_slice_03"; slices count from 0 in the order of the file."""
    return f"{case_id}_slice_{index:02d}"


def pool_of_volumes(
    volumes: Sequence[PreparedVolume], facts: Sequence[Mapping[str, str | float]] | None = None
) -> Pool:
    """Returns the pool of all slices, in the order of the volumes.

    Its volumes are case ids. Where every volume is of phase ED or ES its metadata hold "phase", 1 and 0.

    Args:
        volumes: Prepared volumes.
        facts: What is known about the patient of each volume, from `Reader.patient_facts`. What is known of all becomes
            metadata: "group", "height", "weight", see `patient_metadata`.

    Raises:
        ConfigError: no volume, or a volume twice.
    """
    depths = [len(volume.image) for volume in volumes]
    cases = [volume.case for volume, depth in zip(volumes, depths, strict=True) for _ in range(depth)]
    positions = [index for depth in depths for index in range(depth)]
    metadata = {}
    if cases and all(case.phase in PHASES for case in cases):
        metadata["phase"] = [PHASES[case.phase] for case in cases]
    if facts is not None:
        known = {volume.case.case_id: fact for volume, fact in zip(volumes, facts, strict=True)}
        metadata |= patient_metadata([case.case_id for case in cases], known)
    return make_pool(
        [unit_name(case.case_id, index) for case, index in zip(cases, positions, strict=True)],
        [case.patient_id for case in cases],
        [case.case_id for case in cases],
        positions,
        metadata=metadata,
    )


class SliceStack(Sequence):
    """The images, masks or scribbles of all units of `pool_of_volumes`, read when they are asked for.

    Serves as the (N, H, W) array `masks` of a `Query`.

    Args:
        volumes: The volumes of the pool, in its order.
        kind: "image": slices are (NX, NY, C) float32. "label", "scribble": (NX, NY) uint8.
        size: Height and width to give every slice by the nearest pixel; None leaves them.

    Attributes:
        shape: (N, NX, NY, C) or (N, NX, NY).
        dtype: Of a slice.

    Raises:
        ConfigError: no volume; one that lacks what is asked for; volumes on different grids.
    """

    def __init__(self, volumes: Sequence[PreparedVolume], kind: str = IMAGE, *, size: tuple[int, int] | None = None):
        self._arrays = [getattr(volume, kind, None) for volume in volumes]
        lacking = [v.case.case_id for v, array in zip(volumes, self._arrays, strict=True) if array is None]
        if lacking or not self._arrays:
            found = f"no {kind} of {', '.join(lacking[:5])}" if lacking else "no volume"
            raise ConfigError(f"The pool needs a {kind} for every slice, but there is {found}.")
        self._ends = np.cumsum([len(array) for array in self._arrays])
        first = self._arrays[0]
        is_flat = kind == IMAGE and first.ndim == 3  # images of one channel have no axis for it
        self._tail = (..., None) if is_flat else (...,)
        self._size = size or first.shape[1:3]
        self.shape = (int(self._ends[-1]), *self._size, *first.shape[3:], *([1] if is_flat else []))
        self.dtype = np.dtype(np.float32) if kind == IMAGE else first.dtype
        for volume, array in zip(volumes, self._arrays, strict=True):
            if array.shape[1:] != first.shape[1:]:
                raise ConfigError(
                    f"The volumes must lie on one grid. {volume.case.case_id} has slices of {array.shape[1:]}, "
                    f"{volumes[0].case.case_id} of {first.shape[1:]}."
                )

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, unit: int) -> np.ndarray:
        """Returns one slice as an array of its own."""
        unit = int(unit)
        if not 0 <= unit < len(self):
            raise IndexError(f"The pool has the units 0 to {len(self) - 1}. Received: {unit}")
        volume = int(np.searchsorted(self._ends, unit, side="right"))
        array = self._arrays[volume]
        found = array[unit - int(self._ends[volume]) + len(array)]
        found = found if found.shape[:2] == self._size else resize_nearest(found, self._size)
        return np.array(found, self.dtype)[self._tail]

    def take(self, units: Sequence[int]) -> np.ndarray:
        """Returns (n, ...) the slices of some units together."""
        found = np.empty((len(units), *self.shape[1:]), self.dtype)
        for place, unit in enumerate(units):
            found[place] = self[unit]
        return found


def open_pixels(
    volumes: PreparedSet, folder: Path, *, shape: tuple[int, int] | None = None, dtype: str = "float16"
) -> PixelStore:
    """Returns the pixels of all units side by side, memory-mapped; writes them into `folder` if they are not there.

    Args:
        volumes: The volumes of the pool, prepared with the same settings whenever this folder is used.
        folder: Where pixels-<digest>.npy is or comes to lie: 2 bytes per pixel of the pool for float16.
        shape: Height and width of the stored slices; None: the network's grid, on which masks and scribbles lie.
        dtype: See `write_pixel_store`. For "uint8" intensities are clipped to 0 to 1, their 1st and 99th percentile.

    Raises:
        ConfigError: unknown dtype.
        FewSliceError: the file system refuses.
    """
    stack = SliceStack(volumes)
    shape = tuple(shape or stack.shape[1:3])
    key = {"scans": volumes.digest, "from": stack.shape, "to": shape, "dtype": dtype}
    path = Path(folder) / f"pixels-{files.digest(key)}.npy"
    if path.exists():
        with contextlib.suppress(DataError):  # incomplete or damaged: written anew
            return open_pixel_store(path)
    is_bounded, is_flat = dtype == "uint8", stack.shape[3] == 1

    def images():
        for image in stack:
            image = np.clip(image, 0, 1) if is_bounded else image
            yield image[..., 0] if is_flat else image

    return write_pixel_store(path, images(), len(stack), shape=shape, dtype=dtype)
