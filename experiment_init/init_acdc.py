"""ACDC: cine MRI of the heart, short axis, 100 labelled patients (MICCAI 2017).

Paper   O. Bernard et al., Deep Learning Techniques for Automatic MRI Cardiac Multi-structures Segmentation
        and Diagnosis: Is the Problem Solved?, IEEE TMI 37(11), 2018, https://doi.org/10.1109/TMI.2018.2837502
Used by Chaitanya et al. 2020 (https://arxiv.org/abs/2006.10511) and 2021 (https://arxiv.org/abs/2112.09645),
        whose sizes and splits these are.
Layout  <data root>/acdc/patient001/Info.cfg
                                    patient001_frame01.nii.gz     image, end-diastole (ED)
                                    patient001_frame01_gt.nii.gz  mask
                                    patient001_frame12.nii.gz     image, end-systole (ES), ...
        for patient001 to patient100. Info.cfg says which frame is ED and which is ES.
Try     python train_model/tr_baseline.py --dataset=acdc --no_of_tr_imgs=tr1 --comb_tr_imgs=c1
"""

# Where the scans are, below the data root: the folder FEWSLICE_DATA, or data_root/ in the checkout.
layout = "acdc"
data_path_tr = "acdc"
how_to_get = (
    "Register at https://humanheart-project.creatis.insa-lyon.fr/database and download the ACDC training set "
    "(about 3 GB, CC BY-NC-SA 4.0). Put patient001 ... patient100 directly below the folder named above."
)
orientation = "as_stored"  # as the published code takes arrays; "canonical" turns them as the headers say

# Prepared slices: pixels (multiples of 32) and mm per pixel.
img_size_x = 192
img_size_y = 192
target_resolution = (1.36719, 1.36719)

# Classes: 0 background, 1 right ventricle, 2 myocardium, 3 left ventricle.
num_classes = 4
struct_name = ("rv", "myo", "lv")
class_weights = (0.1, 0.3, 0.3, 0.3)  # background first; used by --dsc_loss=0 and 4

scribbles = "simulated"  # the files hold masks only; see fewslice/data/scribbles.py

# Which volumes of a patient: the published experiments use end-diastole throughout.
# unlabeled_phases = ("ED", "ES") would double the scans for pretraining without any further label.
phases = ("ED",)
unlabeled_phases = ("ED",)

unlabeled_split = "tr52"  # of data_cfg_acdc.py; pretraining uses it unless --no_of_tr_imgs says otherwise
mtask_bs = 20  # slices per step
batch_size_ft = 10  # slices per step of the local contrastive stage
val_step_update = 50  # steps from one validation to the next
