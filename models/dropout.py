"""Dropout that stays active at inference (MC dropout), for any functional network.

Gal and Ghahramani, 2016, https://arxiv.org/abs/1506.02142.
"""

from __future__ import annotations

import keras
from keras import layers

from models.unet import LayerSeeds


@keras.saving.register_keras_serializable("fewslice")
class ActiveDropout(layers.Dropout):
    """Dropout at inference too."""

    def call(self, inputs, training=False):
        del training
        return super().call(inputs, training=True)


def dropping(model: keras.Model, *, seed: int = 0) -> keras.Model:
    """Returns a network with the weights of `model` whose dropout stays active at inference.

    The dropout layers are new ones, whose random states start from `seed`, so that the same calls on a newly made
    network give the same answers. Batch normalisation uses its moving statistics.

    Notes:
        Published code switches the whole network to training mode, so that the copies of an image are normalised by
        their own statistics too, and moves the moving statistics while doing so.
    """
    seeds = LayerSeeds(seed)

    def active(layer):
        if isinstance(layer, layers.Dropout) and layer.rate:
            return ActiveDropout(layer.rate, seed=seeds(layer.name), name=layer.name, dtype=layer.dtype_policy)
        return layer

    clone = keras.models.clone_model(model, clone_function=active)
    return keras.Model(clone.inputs[0], clone.outputs[0], name=f"{model.name}_dropout")


def split_at_dropout(model: keras.Model) -> tuple[keras.Model, keras.Model] | None:
    """Returns the part of a network that no random layer comes before, and the rest, both on the same weights.

    So repeated passes over an image need its first part once: rest(first(x)) is model(x).

    Args:
        model: Functional, with one input and one output.

    Returns:
        Images -> list of maps, and this list -> output; None where nothing comes before the first random layer, or the
        network is no graph of layers.
    """
    if len(getattr(model, "inputs", None) or ()) != 1:
        return None
    random, cut = set(), {}  # symbolic tensors by id, since they do not compare

    def call(layer, *args, **kwargs):
        outputs = layer(*args, **kwargs)
        given = {id(x): x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)}
        draws = any(variable.path.endswith("/seed_generator_state") for variable in layer.variables)
        if draws or random & given.keys():
            cut.update((key, x) for key, x in given.items() if key not in random)
            random.update(map(id, keras.tree.flatten(outputs)))
        return outputs

    graph = keras.Model(model.inputs[0], model.outputs[0])  # of a `Sequential` too
    clone = keras.models.clone_model(graph, clone_function=lambda layer: layer, call_function=call)
    maps = list(cut.values())
    if not maps or any(x is clone.inputs[0] for x in maps):
        return None
    return keras.Model(clone.inputs[0], maps), keras.Model(maps, clone.outputs[0])
