"""Split lists of CHAOS (CT): patient numbers.

key -> combination -> patients; "*" serves every combination. "al" is the pool of active learning.
These are the lists of Vepa et al. 2024, complete: 15, 2 and 3 of 20 patients.
"""
# fmt: off

train = {"al": {"*": [
    "1", "5", "6", "10", "16", "18", "19", "21", "23", "25", "26", "27", "28", "29", "30",
]}}

val = {"al": {"*": ["14", "2"]}}

test = ["22", "8", "24"]
