"""ACDC as the semi-supervised field uses it: 70, 10 and 20 of 100 patients, 256 x 256 pixels, both phases.

Paper   X. Luo et al., SSL4MIS, https://github.com/HiLab-git/SSL4MIS (the split and the preparation); the scans as in
        init_acdc_h5.py.
What    Compare only with tables of this protocol: 1, 3 and 7 labelled patients are 2, 6 and 14 volumes, and slices are
        stretched to 256 x 256 whatever their voxel size; the volumes of `acdc` are end-diastole at one resolution.
Layout  As for acdc_h5, with the files of all patients 001 to 100. ED and ES and the voxel sizes, which only the scores
        in mm need, stand in the spacing table.
Try     python train_model/tr_baseline.py --dataset=acdc_ssl4mis --no_of_tr_imgs=tr7
"""

from experiment_init.init_acdc_h5 import (  # noqa: F401
    class_weights,
    data_path_tr,
    how_to_get,
    layout,
    num_classes,
    spacing_table,
    struct_name,
)

# Prepared slices, as published: stretched to this size (multiples of 32) by the nearest pixel, intensities as stored.
img_size_x = 256
img_size_y = 256
grid = "stretch"
intensity = "as_stored"

phases = ("ED", "ES")
unlabeled_split = "tr70"  # of data_cfg_acdc_ssl4mis.py; pretraining uses it unless --no_of_tr_imgs says otherwise
recipe = "planned"  # default of --recipe
mtask_bs = 12  # labelled slices per step; UniMatch and copy-paste add as many without labels
val_step_update = 200  # steps from one validation to the next
