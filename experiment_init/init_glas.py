"""GlaS: H&E images of colon glands, 85 to train and 80 to test in two parts, benign and malignant (MICCAI 2015).

Paper   K. Sirinukunwattana et al., Gland segmentation in colon histology images: The GlaS challenge contest,
        Medical Image Analysis 35, 2017, https://arxiv.org/abs/1603.00275
Layout  <data root>/glas/Grade.csv, train_1.bmp, train_1_anno.bmp, testA_1.bmp, testB_1.bmp, ...
        in one folder. Masks number the glands; all are class 1, and object scores see which is which.
Lists   of images, as published: several patients have images in training and test, which trainings log.
Try     python scripts/verify_dataset.py --dataset=glas
"""

layout = "glas"
data_path_tr = "glas"
how_to_get = (
    "Ask for the images at https://warwick.ac.uk/fac/cross_fac/tia/data/glascontest (research only) and put all .bmp "
    "files and Grade.csv into one folder. scripts/create_splits.py --dataset=glas makes lists of the images there."
)

# Pictures of two sizes stay as they are, values 0 ... 1. img_size is the window of networks that see windows.
grid = "native"
intensity = "divide_by_255"
num_channels = 3
img_size_x = 416
img_size_y = 416

num_classes = 2
struct_name = ("gland",)
label_values = "instances"
metrics = ("pixels", "objects")  # of the published code and of the challenge
score_groups = "(testA|testB)_.*"  # the challenge reports both parts apart
patient_pattern = "(.+)"

unlabeled_split = "unlabeled"
mtask_bs = 4
batch_size_ft = 4
