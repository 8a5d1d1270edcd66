"""Split lists of CHAOS (MR): patient numbers.

key -> combination -> patients; "*" serves every combination. "al" is the pool of active learning.
These are the lists of Vepa et al. 2024, complete: 14, 2 and 4 of 20 patients.
"""
# fmt: off

train = {"al": {"*": [
    "01", "02", "05", "08", "10", "13", "15", "19", "20", "21", "22", "34", "38", "39",
]}}

val = {"al": {"*": ["03", "33"]}}

test = ["31", "32", "36", "37"]
