"""Parameters of the dense CRF, and the sets that have a name."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from fewslice.core.errors import ConfigError
from fewslice.core.registry import unknown_name

MOST_ITERATIONS = 1000


@dataclass(frozen=True)
class CrfParameters:
    """The six numbers of the dense CRF, in the order of the published lists.

    Widths are in pixels of the prepared slice, not in mm: on pixels that are not square the kernels are not round.
    A weight of 0 switches a kernel off.

    Attributes:
        appearance_sigma_px: Width of the bilateral kernel in space, pixels. Below about .16 it holds the pixel
            itself only and intensities have no influence.
        appearance_sigma_intensity: Its width in intensity; prepared slices have their percentiles 1 and 99 at 0 and
            1.
        appearance_weight: Its weight.
        smoothness_sigma_px: Width of the Gaussian kernel, pixels.
        smoothness_weight: Its weight.
        iterations: Mean-field updates; 0 takes the most probable class.

    Raises:
        ConfigError: values that are not finite or out of range, all of them at once.
    """

    appearance_sigma_px: float
    appearance_sigma_intensity: float
    appearance_weight: float
    smoothness_sigma_px: float
    smoothness_weight: float
    iterations: int

    def __post_init__(self):
        problems = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "iterations":
                if value != int(value) or not 0 <= value <= MOST_ITERATIONS:
                    problems.append(f"`iterations` must be an integer in 0 ... {MOST_ITERATIONS}. Received: {value}")
            elif not math.isfinite(value) or value < 0 or (value == 0 and "sigma" in field.name):
                least = "positive" if "sigma" in field.name else "0 or more"
                problems.append(f"`{field.name}` must be finite and {least}. Received: {value}")
        if problems:
            raise ConfigError("\n".join(problems))


PUBLISHED = "published"
CORRECTED = "corrected"
NONE = "none"

# A name, or name_dataset for a set of one dataset. README.md holds the measurements behind "corrected" and says that
# it gains little.
PARAMETER_SETS = {
    NONE: CrfParameters(1.0, 1.0, 0.0, 1.0, 0.0, 0),
    PUBLISHED: CrfParameters(0.01, 0.5, 10.0, 10.0, 30.0, 30),
    f"{PUBLISHED}_prostate_md": CrfParameters(0.01, 0.5, 10.0, 5.0, 30.0, 30),
    CORRECTED: CrfParameters(5.0, 0.1, 3.0, 3.0, 3.0, 5),
}


def parameter_set(name: str, dataset: str = "") -> CrfParameters:
    """Returns the set called `name`, that of a dataset where it has its own.

    Args:
        name: "none", "published" or "corrected".
        dataset: Name of a dataset, for instance "prostate_md".

    Raises:
        ConfigError: no such set.

    Source:
        Published numbers: Chaitanya et al., 2021, https://arxiv.org/abs/2112.09645, as in the published code.

    Notes:
        The published width of .01 px makes the bilateral kernel the identity, so that intensities play no part, and
        the smoothing of 10 px with weight 30 removes small structures. The numbers are kept as they are under
        "published"; "corrected" differs in all of them.
    """
    if f"{name}_{dataset}" in PARAMETER_SETS:
        return PARAMETER_SETS[f"{name}_{dataset}"]
    if name not in PARAMETER_SETS:
        raise ConfigError(unknown_name("CRF parameter set", name, PARAMETER_SETS))
    return PARAMETER_SETS[name]
