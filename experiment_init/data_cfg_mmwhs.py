"""Split lists of MM-WHS (MR): case numbers.

key "tr<n>" -> combination -> patients; "*" serves every combination.
These are the lists of Chaitanya et al. 2020 and 2021, complete.
A labelled training chooses its checkpoint on the `val` list of the same key and combination.
"""
# fmt: off

train = {
    "tr1": {"c1": ["1003"], "c2": ["1006"], "c3": ["1008"], "c4": ["1001"], "c5": ["1009"]},
    "tr2": {"c1": ["1001", "1003"], "c2": ["1009", "1008"], "c3": ["1006", "1002"], "c4": ["1010", "1007"]},
    "tr8": {
        "c1": ["1001", "1003", "1004", "1006", "1007", "1008", "1009", "1010"],
        "c2": ["1002", "1003", "1004", "1005", "1006", "1007", "1009", "1010"],
        "c3": ["1001", "1003", "1004", "1005", "1006", "1008", "1009", "1010"],
    },
    # The unlabelled pool. It contains all labelled and validation volumes.
    "tr10": {"*": ["1001", "1002", "1003", "1004", "1005", "1006", "1007", "1008", "1009", "1010"]},
}

_first, _second, _third = ["1002", "1005"], ["1001", "1008"], ["1007", "1002"]
val = {
    "tr1": {"c1": _first, "c2": _second, "c3": _third, "c4": _first, "c5": _third},
    "tr2": {"c1": _first, "c2": _third, "c3": _second, "c4": ["1004", "1008"]},
    "tr8": {"c1": _first, "c2": _second, "c3": _third},
    "tr10": {"*": ["1002", "1005", "1008", "1010"]},
}

test = ["1011", "1012", "1013", "1014", "1015", "1016", "1017", "1018", "1019", "1020"]

# Keys for pretraining without labels; only these may contain validation patients.
unlabeled = ("tr10",)
