"""CHAOS, the MR part: four abdominal organs, 20 labelled patients, as .h5 slices and volumes.

Paper   A. E. Kavur et al., CHAOS Challenge: combined (CT-MR) healthy abdominal organ segmentation, Medical Image
        Analysis 69, 2021, https://doi.org/10.1016/j.media.2020.101950
        The lists are those of the code of Vepa et al. 2024 (https://arxiv.org/abs/2411.15763), which reports no
        results on it and does not say how the files were made.
What    `image`, `label` 0..4 or the challenge's codes 63, 126, 189 and 252. 426 training slices of 14 patients.
Layout  <data root>/wsl4mis_data/CHAOS/MRI/training_slices/patient01_slice_0.h5 ...
                                           val_volumes/patient_03_volume.h5 ...
                                           testing_volumes/patient_31_volume.h5 ...
"""

# Where the scans are, below the data root: the folder FEWSLICE_DATA, or data_root/ in the checkout.
layout = "slices_h5"
data_path_tr = "wsl4mis_data/CHAOS/MRI"
patient_pattern = r"patient_?(\d+)(?:_volume)?"
how_to_get = (
    "Take the MR training set of CHAOS from https://doi.org/10.5281/zenodo.3431873 (CC BY-SA 4.0), and write "
    "each patient into .h5 files as init_chaos_mri.py describes. A csv table named by `spacing_table` "
    "with the columns volume, spacing_x_mm, spacing_y_mm and spacing_z_mm gives voxel sizes."
)

# Prepared slices, as published: stretched to this size (multiples of 32) by the nearest pixel, intensities as stored.
img_size_x = 256
img_size_y = 256
grid = "stretch"
intensity = "as_stored"

# Classes: 0 background, 1 liver, 2 right kidney, 3 left kidney, 4 spleen, or the challenge's codes for them.
num_classes = 5
struct_name = ("liver", "right_kidney", "left_kidney", "spleen")
label_map = {1: 1, 2: 2, 3: 3, 4: 4, 63: 1, 126: 2, 189: 3, 252: 4}
scribbles = "simulated"

unlabeled_split = "al"  # of data_cfg_chaos_mri.py; pretraining uses it unless --no_of_tr_imgs says otherwise
mtask_bs = 6  # slices per step
val_step_update = 200  # steps from one validation to the next
