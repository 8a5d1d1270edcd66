"""DAVIS: 50 videos of one moving object, in colour; a video is a volume, its frames are the slices.

Paper   F. Perazzi et al., A benchmark dataset and evaluation methodology for video object segmentation, CVPR 2016,
        https://doi.org/10.1109/CVPR.2016.85
Used by Vepa et al. 2024 (https://arxiv.org/abs/2411.15763), whose sizes and splits these are.
What    `image` (rows, columns, 3): 0..255 in the training frames, 0..1 in the volumes, 0..1 in memory; `label`:
        0 background, above it the object, whatever its number. 2079 training frames of 30 videos. There are no
        scribbles; they can be simulated from the labels.
Layout  <data root>/wsl4mis_data/DAVIS/training_slices/bear_slice_00000.h5 ...
                                       val_volumes/cows.h5 ...
                                       testing_volumes/blackswan.h5 ...
"""

# Where the scans are, below the data root: the folder FEWSLICE_DATA, or data_root/ in the checkout.
layout = "slices_h5"
data_path_tr = "wsl4mis_data/DAVIS"
patient_pattern = r"(.+)"
how_to_get = (
    "Download DAVIS (TrainVal, 480p) from https://davischallenge.org, and write each video into .h5 files as "
    "init_davis.py describes."
)

# Prepared slices, as published: stretched to this size (multiples of 32) by the nearest pixel, intensities as stored.
img_size_x = 256
img_size_y = 256
grid = "stretch"
intensity = "as_stored"
num_channels = 3

# Classes: 0 background, 1 object. Every number above 0 in a label is the object.
num_classes = 2
struct_name = ("object",)
label_map = {code: 1 for code in range(1, 256)}
scribbles = "simulated"

unlabeled_split = "al"  # of data_cfg_davis.py; pretraining uses it unless --no_of_tr_imgs says otherwise
mtask_bs = 6  # slices per step
val_step_update = 200  # steps from one validation to the next
