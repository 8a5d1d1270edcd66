"""ACDC, 20 patients as preprocessed .h5 volumes with scribbles (from the WSL4MIS project).

Paper   O. Bernard et al., IEEE TMI 37(11), 2018, https://doi.org/10.1109/TMI.2018.2837502 (the scans);
        G. Valvano, A. Leo, S. Tsaftaris, IEEE TMI, 2021, https://doi.org/10.1109/TMI.2021.3069634 (the
        scribbles).
What    `image` float32, clipped at the 99th percentile and scaled to 0..1 per volume; `label` 0..3;
        `scribble` 0..3 with 4 = not annotated. Axes are z, y, x. The files hold no voxel sizes, so a csv
        table gives them.
Layout  <data root>/acdc_h5/volumes/patient001_frame01.h5 ...
                    acdc_h5/spacing/acdc_training_facts.csv   voxel sizes and phases
Try     python train_model/tr_baseline.py --dataset=acdc_h5 --no_of_tr_imgs=tr1 --comb_tr_imgs=c1
"""

# Where the scans are, below the data root: the folder FEWSLICE_DATA, or data_root/ in the checkout.
layout = "acdc_h5"
data_path_tr = "acdc_h5/volumes"
spacing_table = "acdc_h5/spacing/acdc_training_facts.csv"  # below the data root, like all paths
how_to_get = (
    "Take the .h5 volumes from https://github.com/HiLab-git/WSL4MIS (data/ACDC/ACDC_training_volumes; "
    "CC BY-NC-SA 4.0) and put them into the folder named above. The spacing table needs one row per volume "
    "with the columns volume, patient, frame, phase, spacing_x_mm, spacing_y_mm and spacing_z_mm."
)

# Prepared slices: pixels (multiples of 32) and mm per pixel; as for acdc.
img_size_x = 192
img_size_y = 192
target_resolution = (1.36719, 1.36719)

# Classes: 0 background, 1 right ventricle, 2 myocardium, 3 left ventricle.
num_classes = 4
struct_name = ("rv", "myo", "lv")
class_weights = (0.1, 0.3, 0.3, 0.3)  # background first; used by --dsc_loss=0 and 4

# Which volumes of a patient: labels count at end-diastole, pretraining sees end-systole too.
phases = ("ED",)
unlabeled_phases = ("ED", "ES")

unlabeled_split = "tr15"  # of data_cfg_acdc_h5.py; pretraining uses it unless --no_of_tr_imgs says otherwise
