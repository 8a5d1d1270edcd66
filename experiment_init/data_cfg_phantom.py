"""Split lists of the phantom: patient numbers 001 to 040.

key "tr<n>" -> combination -> patients; "*" serves every combination.
"""
# fmt: off

train = {
    "tr1": {
        "c1": ["001"],
        "c2": ["002"],
        "c3": ["003"],
    },
    "tr2": {
        "c1": ["001", "002"],
        "c2": ["003", "004"],
    },
    "tr8": {
        "c1": ["001", "002", "003", "004", "005", "006", "007", "008"],
    },
    # The unlabelled pool: like ACDC's with the labelled patients, but without validation and test patients.
    "tr24": {
        "*": [
            "001", "002", "003", "004", "005", "006", "007", "008", "009", "010", "011", "012",
            "013", "014", "015", "016", "017", "018", "019", "020", "021", "022", "023", "024",
        ],
    },
    # All that may be labelled: the upper bound.
    "trall": {
        "*": [
            "001", "002", "003", "004", "005", "006", "007", "008", "009", "010",
            "011", "012", "013", "014", "015", "016", "017", "018", "019", "020",
            "021", "022", "023", "024", "025", "026", "027", "028",
        ],
    },
}

val = {
    "tr1": {
        "*": ["029", "030"],
    },
    "tr2": {
        "*": ["029", "030"],
    },
    "tr8": {
        "*": ["029", "030"],
    },
    "trall": {
        "*": ["029", "030"],
    },
}

test = ["031", "032", "033", "034", "035", "036", "037", "038", "039", "040"]

# Keys for pretraining without labels; only these may contain validation patients.
unlabeled = ("tr24",)
