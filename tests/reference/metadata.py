"""Metadata of ACDC slices with plain loops over file names and cfg values (Vepa et al. 2024)."""

import math
import re


def numbers(files):
    """Returns the slice number of every file."""
    return [int(re.search(r"slice_(\d+)\.h5", name)[1]) for name in files]


def one_digit(name):
    """Returns the slice number as the published code reads it: the first digit only."""
    return int(re.search(r"slice_(\d)", name)[1])


def scores(values):
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return [(value - mean) / spread for value in values]


def array(files, cfgs, slice_numbers):
    """Returns one row per slice: patient, phase, one-hot group, height, weight, relative position, position."""
    groups = []
    for cfg in cfgs:
        if cfg["Group"] not in groups:
            groups.append(cfg["Group"])
    volumes = [name[: name.index("_slice_")] for name in files]
    heights, weights = scores([cfg["Height"] for cfg in cfgs]), scores([cfg["Weight"] for cfg in cfgs])
    rows = []
    for i, name in enumerate(files):
        patient, frame = map(int, re.search(r"patient(\d+)_frame(\d+)", name).groups())
        row = [patient, 1 if frame == cfgs[i]["ED"] else 0]
        row += [1 if cfgs[i]["Group"] == group else 0 for group in groups]
        row += [heights[i], weights[i], slice_numbers[i] / volumes.count(volumes[i]), slice_numbers[i]]
        rows.append(row)
    return rows
