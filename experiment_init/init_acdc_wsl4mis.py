"""ACDC, 150 patients as .h5 training slices and .h5 volumes with scribbles (WSL4MIS).

Paper   O. Bernard et al., IEEE TMI 37(11), 2018, https://doi.org/10.1109/TMI.2018.2837502 (the scans);
        G. Valvano, A. Leo, S. Tsaftaris, IEEE TMI, 2021, https://doi.org/10.1109/TMI.2021.3069634 (the
        scribbles); X. Luo et al., MICCAI 2022, https://arxiv.org/abs/2203.02106 (the .h5 form).
Used by Vepa et al. 2024 (https://arxiv.org/abs/2411.15763), whose sizes and splits these are.
What    `image` float32, clipped at the 99th percentile and scaled to 0..1 per volume; `label` 0..3;
        `scribble` 0..3 with 4 = not annotated. 1454 training slices of 160 volumes. The public files hold
        patients 001 to 100; 101 to 150, the challenge's test set, have to be converted by yourself.
Layout  <data root>/wsl4mis_data/ACDC/ACDC_training_slices/patient001_frame01_slice_0.h5 ...
                                                            patient001.cfg, the Info.cfg of ACDC; optional
                                      ACDC_training_volumes/patient081_frame01.h5 ...
                                      ACDC_testing_volumes/patient101_frame01.h5 ...
        Without patient001.cfg the lower frame is end-diastole, and diagnosis, height and weight are unknown.
"""

# Where the scans are, below the data root: the folder FEWSLICE_DATA, or data_root/ in the checkout.
layout = "acdc_slices_h5"
data_path_tr = "wsl4mis_data/ACDC"
how_to_get = (
    "Take ACDC_training_slices and ACDC_training_volumes from https://github.com/HiLab-git/WSL4MIS (data/ACDC; "
    "CC BY-NC-SA 4.0) and put both folders into the folder named above. A csv table named by `spacing_table` "
    "with the columns volume, spacing_x_mm, spacing_y_mm and spacing_z_mm gives voxel sizes."
)

# Prepared slices, as published: stretched to this size (multiples of 32) by the nearest pixel, intensities as stored.
img_size_x = 256
img_size_y = 256
grid = "stretch"
intensity = "as_stored"

# Classes: 0 background, 1 right ventricle, 2 myocardium, 3 left ventricle. Both phases, as published.
num_classes = 4
struct_name = ("rv", "myo", "lv")
phases = ("ED", "ES")

unlabeled_split = "al"  # of data_cfg_acdc_wsl4mis.py; pretraining uses it unless --no_of_tr_imgs says otherwise
mtask_bs = 6  # slices per step
val_step_update = 200  # steps from one validation to the next
