"""Phantom: synthetic short-axis cine volumes of the heart in ACDC's layout, to try things without real scans.

What    40 patients, end-diastole and end-systole, with right ventricle, myocardium and left ventricle that
        vary in size, position, pose, contrast, noise, slice count and spacing. Numbers on it say nothing
        about real scans.
Make    python scripts/make_phantom.py          (`make demo` does it for you)
Layout  <data root>/phantom/patient001/ ... patient040/, files as in init_acdc.py
Try     python train_model/tr_baseline.py --dataset=phantom --no_of_tr_imgs=tr1 --comb_tr_imgs=c1
"""

# Where the scans are, below the data root: the folder FEWSLICE_DATA, or data_root/ in the checkout.
layout = "acdc"
data_path_tr = "phantom"
how_to_get = "Write the synthetic scans with: python scripts/make_phantom.py"
orientation = "as_stored"  # all volumes are stored alike; "canonical" would turn them as the headers say

# Prepared slices: pixels (multiples of 32) and mm per pixel. Small, so that a demonstration takes minutes.
img_size_x = 96
img_size_y = 96
target_resolution = (2.0, 2.0)

# Classes: 0 background, 1 right ventricle, 2 myocardium, 3 left ventricle.
num_classes = 4
struct_name = ("rv", "myo", "lv")
class_weights = (0.1, 0.3, 0.3, 0.3)  # background first; used by --dsc_loss=0 and 4

scribbles = "simulated"  # the files hold masks only; see fewslice/data/scribbles.py

# Which volumes of a patient: labels count at end-diastole, pretraining sees end-systole too.
phases = ("ED",)
unlabeled_phases = ("ED", "ES")

unlabeled_split = "tr24"  # of data_cfg_phantom.py; pretraining uses it unless --no_of_tr_imgs says otherwise
