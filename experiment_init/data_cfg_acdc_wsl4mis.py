"""Split lists of ACDC as training slices and volumes in .h5 files: patient numbers.

key -> combination -> patients; "*" serves every combination. "al" is the pool of active learning.
These are the lists of Vepa et al. 2024, complete: 80, 20 and 50 of 150 patients.
"""

train = {"al": {"*": [f"{number:03d}" for number in range(1, 81)]}}
val = {"al": {"*": [f"{number:03d}" for number in range(81, 101)]}}
test = [f"{number:03d}" for number in range(101, 151)]
