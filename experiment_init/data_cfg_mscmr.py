"""Split lists of MS-CMR: patient numbers.

key -> combination -> patients; "*" serves every combination. "al" is the pool of active learning.
These are the lists of Vepa et al. 2024, complete: 25, 5 and 15 of 45 patients.
"""
# fmt: off

train = {"al": {"*": [
    "2", "4", "6", "7", "9", "13", "14", "15", "18", "19", "20", "21", "22", "24", "25", "26", "27", "31",
    "32", "34", "37", "39", "42", "44", "45",
]}}

val = {"al": {"*": ["1", "29", "36", "41", "8"]}}

test = ["3", "5", "10", "11", "12", "16", "17", "23", "28", "30", "33", "35", "38", "40", "43"]
