"""Split lists of the phantom: patient numbers 001 to 040.

key "tr<n>" -> combination -> patients; "*" serves every combination.
"""
# fmt: off

_patients = [f"{number:03d}" for number in range(1, 41)]

train = {
    "tr1": {"c1": ["001"], "c2": ["002"], "c3": ["003"]},
    "tr2": {"c1": ["001", "002"], "c2": ["003", "004"]},
    "tr8": {"c1": _patients[:8]},
    # The unlabelled pool: like ACDC's with the labelled patients, but without validation and test patients.
    "tr24": {"*": _patients[:24]},
    # All that may be labelled: the upper bound.
    "trall": {"*": _patients[:28]},
    # The pool of active learning: 24 to 6, as 80 to 20 in Vepa et al. 2024.
    "al": {"*": _patients[:24]},
}

val = {
    "tr1": {"*": ["029", "030"]},
    "tr2": {"*": ["029", "030"]},
    "tr8": {"*": ["029", "030"]},
    "trall": {"*": ["029", "030"]},
    "al": {"*": ["025", "026", "027", "028", "029", "030"]},
}

test = _patients[30:]

# Keys for pretraining without labels; only these may contain validation patients.
unlabeled = ("tr24",)
