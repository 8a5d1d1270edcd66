"""The published group sampler, from its description: call order on `np.random.RandomState` included.

Slices are numbered in flat order: patients, their volumes, their slices. `layout` holds for each patient the number of
slices of its volumes; `groups` the letters of the partners, s neighbour, v volume, p patient.
"""

from __future__ import annotations

import numpy as np


def hierarchy(layout):
    """Returns the slices of each volume, and for each volume its patient."""
    depths = [depth for patient in layout for depth in patient]
    patients = [index for index, patient in enumerate(layout) for _ in patient]
    return depths, patients


def volumes_of(layout):
    """Returns patient -> volume -> slices, in flat order."""
    start, out = 0, []
    for patient in layout:
        out.append([])
        for depth in patient:
            out[-1].append(list(range(start, start + depth)))
            start += depth
    return out


def relation(layout, anchor, partner):
    """Returns how a partner is related to its anchor, in the words of the golden file."""
    for patient in volumes_of(layout):
        if not any(anchor in volume for volume in patient):
            continue
        for volume in patient:
            if anchor in volume:
                if partner in volume:
                    return "adjacent" if abs(partner - anchor) == 1 else "same_volume"
        return "same_patient_other_volume" if any(partner in volume for volume in patient) else "other_patient"
    raise ValueError(anchor)


def _group(random, groups, volume, patient, index):
    anchor = volume[index]
    group = [anchor]
    if "s" in groups:
        if index == 0:
            step = 1
        elif index == len(volume) - 1:
            step = -1
        else:
            step = random.choice([-1, 1])
        group.append(anchor + step)
    for letter, members in (("v", volume), ("p", patient)):
        if letter in groups:
            while True:
                partner = members[random.choice(np.arange(len(members)))]
                if partner not in group:
                    break
            group.append(partner)
    return group


def _assemble(random, pools, num_groups):
    live, batches = list(range(len(pools))), []
    while len(live) >= 2:
        used = []
        while len(used) < num_groups:
            if len(live) <= len(used):
                return batches
            patient = random.choice(live)
            if patient in used:
                continue
            if not pools[patient]:
                live.remove(patient)
                continue
            used.append(patient)
        batch = []
        for patient in used:
            batch += pools[patient].pop(random.choice(np.arange(len(pools[patient]))))
        batches.append([int(index) for index in batch])
    return batches


def published_epochs(layout, groups, batch_size, seed, *, count, reset_every_epoch=True, shuffle=True):
    """Returns the batches of `count` epochs: lists of flat slice numbers."""
    random = np.random.RandomState(seed)
    num_groups = batch_size // (1 + len(groups))

    def draw():
        pools = []
        for patient in volumes_of(layout):
            slices = [index for volume in patient for index in volume]
            pools.append(
                [_group(random, groups, volume, slices, index) for volume in patient for index in range(len(volume))]
            )
        return _assemble(random, pools, num_groups)

    batches, epochs = draw(), []
    for _ in range(count):
        if shuffle:
            random.shuffle(batches)
        epochs.append([list(batch) for batch in batches])
        if reset_every_epoch:
            batches = draw()
    return epochs
