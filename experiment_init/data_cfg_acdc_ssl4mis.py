"""Split lists of ACDC in the semi-supervised field (SSL4MIS): patient numbers.

key "tr<n>" -> combination -> patients; "*" serves every combination. "al" is the pool of active learning.
The lists are complete: 70, 10 and 20 of 100 patients. The labelled ones are the first of the training list: 3 patients
are its first 68 slices, 7 its first 136. That 1 patient means the first one is an assumption.
"""
# fmt: off

_patients = [
    "099", "038", "050", "100", "058", "021", "049", "020", "072", "040", "060", "089", "004", "056",
    "098", "096", "031", "018", "094", "047", "048", "055", "097", "074", "043", "041", "063", "037",
    "095", "054", "026", "088", "032", "069", "006", "071", "012", "073", "061", "017", "025", "010",
    "057", "029", "051", "005", "036", "046", "062", "034", "076", "092", "070", "077", "067", "003",
    "091", "016", "014", "044", "042", "090", "053", "027", "035", "086", "023", "009", "079", "015",
]
train = {f"tr{n}": {"*": _patients[:n]} for n in (1, 3, 7, 14, 21, 28, 35, 70)} | {"al": {"*": _patients}}

_val = ["028", "085", "082", "087", "019", "030", "078", "045", "002", "039"]
val = {key: {"*": _val} for key in train}

test = [
    "011", "013", "084", "033", "093", "022", "068", "024", "083", "081", "080", "001", "007", "066",
    "008", "065", "075", "064", "059", "052",
]
