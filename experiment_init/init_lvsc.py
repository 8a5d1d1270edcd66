"""LVSC: cine MRI of the heart, 100 patients, short and long axis, as .h5 slices and volumes.

Paper   A. Suinesiaputra et al., A collaborative resource to build consensus for automated left ventricular
        segmentation of cardiac MR images, Medical Image Analysis 18(1), 2014,
        https://doi.org/10.1016/j.media.2013.09.001
Used by Vepa et al. 2024 (https://arxiv.org/abs/2411.15763), whose sizes and splits these are.
What    A volume is one image plane over time (SA1, SA2, ... short axis, LA1, ... long axis), its slices are the
        frames. `image`: 224 x 224 pixels of 1.45 mm, (value - median) / interquartile range per patient and view;
        `label` 0..1. 18808 training slices of 815 planes of 50 patients. There are no scribbles; they can be
        simulated from the labels.
Layout  <data root>/wsl4mis_data/LVSC/training_slices/DET0001101_SA1_slice_0.h5 ...
                                      val_volumes/DET0005001_LA1.h5 ...
                                      testing_volumes/DET0014201_SA2.h5 ...
"""

# Where the scans are, below the data root: the folder FEWSLICE_DATA, or data_root/ in the checkout.
layout = "slices_h5"
data_path_tr = "wsl4mis_data/LVSC"
patient_pattern = r"(DET\d+)_[SL]A\d+"
how_to_get = (
    "Register at https://www.cardiacatlas.org and download the training set of the LV Segmentation Challenge, "
    "and write each plane into an .h5 file as init_lvsc.py describes. A csv table named by `spacing_table` "
    "with the columns volume, spacing_x_mm, spacing_y_mm and spacing_z_mm gives voxel sizes."
)

# Prepared slices, as published: stretched to this size (multiples of 32) by the nearest pixel, intensities as stored.
img_size_x = 256
img_size_y = 256
grid = "stretch"
intensity = "as_stored"

# Classes: 0 background, 1 myocardium of the left ventricle.
num_classes = 2
struct_name = ("myo",)
scribbles = "simulated"

unlabeled_split = "al"  # of data_cfg_lvsc.py; pretraining uses it unless --no_of_tr_imgs says otherwise
mtask_bs = 6  # slices per step
val_step_update = 200  # steps from one validation to the next
