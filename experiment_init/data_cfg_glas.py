"""Split lists of glas: patients, shuffled with seed 0.

key "tr<n>" -> combination -> patients; "*" serves every combination.
"""
# fmt: off

_training = [
    "train_48", "train_42", "train_40", "train_13", "train_61", "train_32", "train_85",
    "train_30", "train_6", "train_76", "train_7", "train_82", "train_49", "train_58", "train_19",
    "train_23", "train_37", "train_11", "train_41", "train_73", "train_25", "train_68",
    "train_35", "train_80", "train_26", "train_55", "train_12", "train_10", "train_70",
    "train_31", "train_29", "train_52", "train_1", "train_15", "train_50", "train_3", "train_33",
    "train_56", "train_43", "train_77", "train_54", "train_71", "train_83", "train_66",
    "train_69", "train_46", "train_65", "train_20", "train_39", "train_84", "train_51",
    "train_62", "train_22", "train_44", "train_78", "train_38", "train_79", "train_53",
    "train_16", "train_67", "train_72", "train_63", "train_59", "train_36", "train_47",
    "train_60", "train_4", "train_81",
]

_validation = [
    "train_14", "train_17", "train_18", "train_2", "train_21", "train_24", "train_27",
    "train_28", "train_34", "train_45", "train_5", "train_57", "train_64", "train_74",
    "train_75", "train_8", "train_9",
]

_unlabeled = []

train = {
    "tr1": {
        "c1": ["train_48"],
        "c2": ["train_42"],
        "c3": ["train_40"],
        "c4": ["train_13"],
        "c5": ["train_61"],
    },
    "tr2": {
        "c1": ["train_42", "train_48"],
        "c2": ["train_13", "train_40"],
        "c3": ["train_32", "train_61"],
        "c4": ["train_30", "train_85"],
        "c5": ["train_6", "train_76"],
    },
    "tr8": {
        "c1": [
            "train_13", "train_30", "train_32", "train_40", "train_42", "train_48", "train_61",
            "train_85",
        ],
        "c2": [
            "train_19", "train_23", "train_49", "train_58", "train_6", "train_7", "train_76",
            "train_82",
        ],
        "c3": [
            "train_11", "train_25", "train_35", "train_37", "train_41", "train_68", "train_73",
            "train_80",
        ],
    },
    "trall": {
        "*": _training,
    },
    "al": {
        "*": _training,
    },
    "unlabeled": {
        "*": _training + _unlabeled,
    },
}

val = {
    "tr1": {
        "*": _validation,
    },
    "tr2": {
        "*": _validation,
    },
    "tr8": {
        "*": _validation,
    },
    "trall": {
        "*": _validation,
    },
    "al": {
        "*": _validation,
    },
}

test = [
    "testA_1", "testA_10", "testA_11", "testA_12", "testA_13", "testA_14", "testA_15",
    "testA_16", "testA_17", "testA_18", "testA_19", "testA_2", "testA_20", "testA_21",
    "testA_22", "testA_23", "testA_24", "testA_25", "testA_26", "testA_27", "testA_28",
    "testA_29", "testA_3", "testA_30", "testA_31", "testA_32", "testA_33", "testA_34",
    "testA_35", "testA_36", "testA_37", "testA_38", "testA_39", "testA_4", "testA_40",
    "testA_41", "testA_42", "testA_43", "testA_44", "testA_45", "testA_46", "testA_47",
    "testA_48", "testA_49", "testA_5", "testA_50", "testA_51", "testA_52", "testA_53",
    "testA_54", "testA_55", "testA_56", "testA_57", "testA_58", "testA_59", "testA_6",
    "testA_60", "testA_7", "testA_8", "testA_9", "testB_1", "testB_10", "testB_11", "testB_12",
    "testB_13", "testB_14", "testB_15", "testB_16", "testB_17", "testB_18", "testB_19",
    "testB_2", "testB_20", "testB_3", "testB_4", "testB_5", "testB_6", "testB_7", "testB_8",
    "testB_9",
]

# Keys for pretraining without labels; only these may contain validation patients.
unlabeled = ("unlabeled",)
