"""Split lists of the 20 ACDC patients that are here as .h5 volumes; from data_cfg_acdc.py.

key "tr<n>" -> combination -> patients; "*" serves every combination.
A labelled training chooses its checkpoint on the `val` list of the same key and combination.
"""
# fmt: off

train = {
    "tr1": {
        "c1": ["002"],
        "c2": ["042"],
        "c3": ["095"],
        "c4": ["022"],
        "c5": ["062"],
    },
    "tr2": {
        "c1": ["042", "062"],
        "c2": ["002", "042"],
        "c3": ["042", "095"],
        "c4": ["002", "022"],
        "c5": ["002", "095"],
    },
    # Of the published three combinations only c1 is complete here.
    "tr8": {
        "c1": ["002", "022", "042", "062", "095", "003", "023", "043"],
    },
    # All but the test patients. It contains the validation patients 011, 031, 071, 072 (images only).
    "tr15": {
        "*": [
            "001", "002", "003", "011", "022", "023", "031", "042",
            "043", "061", "062", "071", "072", "081", "095",
        ],
    },
    # The pool of active learning: all but the test patients and 011, 071, which validate it.
    "al": {
        "*": ["001", "002", "003", "022", "023", "031", "042", "043", "061", "062", "072", "081", "095"],
    },
    # The 11 patients of the published list of 52 that are here. It contains the validation patient 072.
    "tr52": {
        "*": ["001", "002", "003", "022", "023", "042", "043", "061", "062", "072", "081"],
    },
}

val = {
    "tr1": {
        "c1": ["011", "071"],
        "c2": ["031", "072"],
        "c3": ["011", "071"],
        "c4": ["011", "071"],
        "c5": ["011", "071"],
    },
    "tr2": {
        "c1": ["031", "072"],
        "c2": ["011", "071"],
        "c3": ["031", "072"],
        "c4": ["011", "071"],
        "c5": ["011", "071"],
    },
    "tr8": {
        "c1": ["011", "071"],
    },
    "al": {
        "*": ["011", "071"],
    },
}

test = ["007", "027", "047", "067", "087"]

# Keys for pretraining without labels; only these may contain validation patients.
unlabeled = ("tr15", "tr52")
