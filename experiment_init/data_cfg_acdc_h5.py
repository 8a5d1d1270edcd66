"""Split lists of the 20 ACDC patients that are here as .h5 volumes; labelled ones as in data_cfg_acdc.py.

key "tr<n>" -> combination -> patients; "*" serves every combination.
A labelled training chooses its checkpoint on the `val` list of the same key and combination.
"""
# fmt: off

from experiment_init import data_cfg_acdc as _acdc

train = {
    "tr1": _acdc.train["tr1"],
    "tr2": _acdc.train["tr2"],
    # Of the published three combinations only c1 is complete here.
    "tr8": {"c1": _acdc.train["tr8"]["c1"]},
    # All but the test patients. It contains the validation patients 011, 031, 071, 072 (images only).
    "tr15": {"*": [
        "001", "002", "003", "011", "022", "023", "031", "042",
        "043", "061", "062", "071", "072", "081", "095",
    ]},
    # The pool of active learning: all but the test patients and 011, 071, which validate it.
    "al": {"*": ["001", "002", "003", "022", "023", "031", "042", "043", "061", "062", "072", "081", "095"]},
    # The 11 patients of the published list of 52 that are here. It contains the validation patient 072.
    "tr52": {"*": ["001", "002", "003", "022", "023", "042", "043", "061", "062", "072", "081"]},
}

val = {
    "tr1": _acdc.val["tr1"],
    "tr2": _acdc.val["tr2"],
    "tr8": {"c1": _acdc.val["tr8"]["c1"]},
    "al": {"*": ["011", "071"]},
}

test = ["007", "027", "047", "067", "087"]

# Keys for pretraining without labels; only these may contain validation patients.
unlabeled = ("tr15", "tr52")
