"""The colours of structures, in pictures and in the files for viewers."""

_STRUCTURES = ("#35c3d6", "#ffc23d", "#ff6b57", "#9be36f", "#c58bff", "#ff9fd0", "#7fa8ff")


def structure_colour(structure: int) -> str:
    """Returns the colour of a label, 1 or larger."""
    return _STRUCTURES[(structure - 1) % len(_STRUCTURES)]
