"""Split lists of all 165 images of GlaS, by image: scripts/create_splits.py --dataset=glas --seed=0 draws them.

20 % of the training images validate, with the same share of each grade; the official test is both parts.
Of fewer images the script makes lists of those that are there: --force, or --output_dir=<folder>.
"""
# fmt: off

_training = [f"train_{n}" for n in (
    48, 42, 40, 13, 61, 32, 85, 30, 6, 76, 7, 82, 49, 58, 19, 23, 37, 11, 41, 73, 25, 68, 35, 80, 26, 55, 12,
    10, 70, 31, 29, 52, 1, 15, 50, 3, 33, 56, 43, 77, 54, 71, 83, 66, 69, 46, 65, 20, 39, 84, 51, 62, 22, 44,
    78, 38, 79, 53, 16, 67, 72, 63, 59, 36, 47, 60, 4, 81,
)]
_validation = [f"train_{n}" for n in (
    14, 17, 18, 2, 21, 24, 27, 28, 34, 45, 5, 57, 64, 74, 75, 8, 9,
)]

train = {key: {"*": _training} for key in ("trall", "al", "unlabeled")}
val = {key: {"*": _validation} for key in ("trall", "al")}
test = [*(f"testA_{n}" for n in range(1, 61)), *(f"testB_{n}" for n in range(1, 21))]
unlabeled = ("unlabeled",)  # for pretraining without labels
