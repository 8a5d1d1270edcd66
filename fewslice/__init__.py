"""FewSlice: segmentation of medical images with few labels.

`__all__` is public, with examples in docs/python.md; each name is imported when it is first asked for.
"""

import importlib

_PLACES = dict.fromkeys(("load_dataset", "open_volumes", "select"), "fewslice.api.arrays")
_PLACES |= dict.fromkeys(("load_network", "predict"), "fewslice.api.networks") | {"losses": "losses"}
__all__ = sorted(_PLACES)


def __getattr__(name):
    if name not in _PLACES:
        raise AttributeError(f"module 'fewslice' has no attribute {name!r}")
    if _PLACES[name] != "fewslice.api.arrays":
        importlib.import_module("fewslice.core.backend").load()  # Keras, without the messages of its backend
    module = importlib.import_module(_PLACES[name])
    return globals().setdefault(name, getattr(module, name, module))


def __dir__():
    return sorted({*globals(), *__all__})
