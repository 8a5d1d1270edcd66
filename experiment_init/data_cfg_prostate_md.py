"""Split lists of the Decathlon prostate set (Task05): case numbers without "prostate_".

key "tr<n>" -> combination -> patients; "*" serves every combination.
These are the lists of Chaitanya et al. 2020 and 2021, complete.
A labelled training chooses its checkpoint on the `val` list of the same key and combination.
"""
# fmt: off

train = {
    "tr1": {"c1": ["001"], "c2": ["002"], "c3": ["006"], "c4": ["000"], "c5": ["004"]},
    "tr2": {
        "c1": ["000", "001"], "c2": ["021", "024"], "c3": ["001", "002"], "c4": ["004", "010"], "c5": ["000", "007"],
    },
    "tr8": {
        "c1": ["000", "001", "002", "004", "006", "007", "010", "016"],
        "c2": ["002", "004", "006", "007", "010", "016", "021", "018"],
        "c3": ["000", "001", "006", "007", "010", "017", "018", "024"],
    },
    # Of the 2021 experiments only.
    "tr10": {
        "c1": ["000", "001", "002", "004", "006", "007", "010", "016", "017", "018"],
        "c2": ["000", "001", "002", "004", "006", "007", "010", "016", "021", "018"],
        "c3": ["000", "001", "002", "004", "006", "007", "010", "016", "024", "018"],
    },
    # The unlabelled pool: 17 volumes, despite its name. It contains all labelled and validation volumes.
    "tr22": {"*": [
        "000", "001", "002", "004", "006", "007", "010", "013", "014",
        "016", "017", "018", "020", "021", "024", "025", "028",
    ]},
    # The published list fuses 000 and 001 into one id "000001"; these are the 15 volumes that it means.
    "trall": {"*": [
        "000", "001", "002", "004", "006", "007", "010", "016",
        "017", "018", "020", "021", "024", "025", "028",
    ]},
}

_three = {"c1": ["013", "014"], "c2": ["017", "020"], "c3": ["025", "028"]}
_five = {**_three, "c4": ["013", "014"], "c5": ["025", "028"]}
val = {
    "tr1": _five,
    "tr2": _five,
    "tr8": _three,
    "tr10": _three,
    "tr22": {"*": ["013", "014", "020", "028"]},
    "trall": {"*": ["013", "014"]},
}

test = [
    "029", "031", "032", "034", "035", "037", "038", "039",
    "040", "041", "042", "043", "044", "046", "047",
]

# Keys for pretraining without labels; only these may contain validation patients.
unlabeled = ("tr22",)
