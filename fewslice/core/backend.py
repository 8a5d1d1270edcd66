"""Settings of the backend, in the one place that may name it: seeds, precision, threads, devices.

TensorFlow and JAX are imported inside functions and only where they are the backend.
"""

from __future__ import annotations

import contextlib
import functools
import logging as standard_logging
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import logging

from fewslice.core import files, plugins
from fewslice.core.console import without_native_messages
from fewslice.core.errors import ConfigError, DataError

try:
    import resource
except ImportError:  # not a POSIX system
    resource = None

BACKENDS = ("tensorflow", "jax", "torch")
_LEAST_BYTES = 2 * 2**30
_READER = os.path.join("keras", "src", "backend", "config.py")  # the module of Keras that reads keras.json


def load() -> None:
    """Imports Keras without the messages of its backend, and sets everything that its file keras.json may set.

    That file lies in the user's home folder for all projects; of what it says only the backend counts here.

    Raises:
        ConfigError: there is no such backend, or it cannot be imported.
        DataError: keras.json cannot be read, or holds what Keras does not know.
        OSError: it is a pipe or a device.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0] if resource else -1
    if 0 <= limit < _LEAST_BYTES:  # TensorFlow would wait for ever, or end the process
        raise ConfigError(
            f"The memory of this process is limited to {limit / 2**30:.1f} GiB (ulimit -v), and a network needs "
            f"{_LEAST_BYTES / 2**30:.0f} GiB or more of address space. Raise the limit and repeat the command."
        )
    for name in ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"):  # for debugging; Keras takes whole numbers only
        os.environ.pop(name, None)
    home = os.environ.get("KERAS_HOME") or "~/.keras"
    path = os.path.expanduser(f"{home}/keras.json")
    files.refuse_special(path)
    try:
        with without_native_messages():
            import keras

        if keras.backend.backend() not in BACKENDS:
            raise ValueError(f"it trains no networks: {keras.backend.backend()}")
    except Exception as error:
        said, stack = str(error).strip() or type(error).__name__, traceback.extract_tb(error.__traceback__)
        if any(frame.filename.endswith(_READER) for frame in stack):
            remedy = "Correct the file, or move it elsewhere: Keras writes a new one."
            files.read_record(path, remedy=remedy)
            raise DataError(path, expected="settings that Keras knows", found=said, remedy=remedy) from error
        named = os.environ.get("KERAS_BACKEND")
        source = f"KERAS_BACKEND={named}" if named else f"`backend` in {home}/keras.json, or tensorflow"
        raise ConfigError(
            f"Keras and its backend cannot be imported: {said.splitlines()[-1]}. The backend is named by {source}. "
            f"Set KERAS_BACKEND to one of {', '.join(BACKENDS)} that is installed, or correct keras.json. "
            "TensorFlow comes with pip install -e '.[cpu]', or '.[gpu]' for NVIDIA GPUs."
        ) from error
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    standard_logging.getLogger("tensorflow").addFilter(_is_no_retracing)  # one and the same is kept once
    for name in ("set_max_epochs", "set_max_steps_per_epoch"):  # where Keras was imported before
        getattr(keras.config, name, lambda _: None)(None)


def _is_no_retracing(record: standard_logging.LogRecord) -> bool:
    """Lets everything through but the warning that a function is compiled again: images of several sizes are right."""
    return "retracing" not in record.getMessage()


def configure(*, seed: int, mixed_precision: bool, devices: int = 1) -> None:
    """Seeds everything random, asks for deterministic kernels and sets the precision.

    Args:
        mixed_precision: Compute in bfloat16, keep weights and losses in float32.
        devices: How many devices share each batch; on a machine without GPUs so many virtual CPUs.

    Raises:
        ConfigError: more devices than there are, or several on another backend than TensorFlow.
    """
    load()
    import keras

    keras.utils.set_random_seed(seed)
    keras.mixed_precision.set_global_policy("mixed_bfloat16" if mixed_precision else "float32")
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
        if devices > 1:
            tf.get_logger().setLevel("WARNING")  # a line for every reduction otherwise
            _split_cpu(tf, devices)
    elif devices > 1:
        raise ConfigError(
            f"--devices={devices} needs the TensorFlow backend. Found: KERAS_BACKEND={keras.backend.backend()}"
        )
    _log_device()


@functools.cache
def _log_device() -> None:
    """Names the backend and the device in the log, once per process; warns of two TensorFlows in one environment."""
    import keras

    kind, found, gpus = keras.backend.backend(), _installed(), []
    if kind == "jax":
        import jax

        gpus = [device.device_kind for device in jax.devices() if device.platform != "cpu"]
    elif kind == "tensorflow":
        import tensorflow as tf

        details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
        gpus = [detail.get("device_name", "GPU") for detail in details]
    version = found.get(kind) or found.get("tensorflow-cpu", "")
    other = "as torch chooses" if kind == "torch" else f"CPU, {os.cpu_count()} cores"
    logging.info("Device: %s (%s %s).", ", ".join(gpus) or other, kind, version)
    if {"tensorflow", "tensorflow-cpu"} <= set(found):
        logging.warning(
            "The packages tensorflow and tensorflow-cpu are both installed and overwrite each other's files. Remove "
            "both (pip uninstall tensorflow tensorflow-cpu), then install '.[cpu]' or '.[gpu]'."
        )


def name() -> str:
    """Returns the name of the backend, after importing it."""
    load()
    import keras

    return keras.backend.backend()


def release_networks() -> None:
    """Frees what earlier networks of this process hold.

    `keras.utils.clear_session` forgets the precision and the global seed, too. The precision is put back; networks and
    random layers are seeded one by one.
    """
    import keras

    policy = keras.config.dtype_policy()
    keras.utils.clear_session()
    keras.config.set_dtype_policy(policy)


@contextlib.contextmanager
def precision(policy: str) -> Iterator[None]:
    """Builds networks within with a dtype policy, "float32" or "mixed_bfloat16", and puts back the one before."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _split_cpu(tf: Any, devices: int) -> None:
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        if devices > len(gpus):
            raise ConfigError(f"--devices={devices}, but this machine has {len(gpus)} GPU(s).")
        return
    cpu = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(cpu) or ()) == devices:
        return
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    except RuntimeError as error:
        raise ConfigError(f"--devices={devices} must be set before TensorFlow is used in this process.") from error


def device_scope(devices: int) -> contextlib.AbstractContextManager:
    """Returns the scope in which to build and compile a network that `devices` devices train together."""
    if devices == 1:
        return contextlib.nullcontext()
    import tensorflow as tf

    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    return tf.distribute.MirroredStrategy([f"/{kind}:{index}" for index in range(devices)]).scope()


def synchronise(model: Any) -> None:
    """Brings the weights that the backend holds inside a training loop (JAX) back into the model's variables."""
    sync = getattr(model, "jax_state_sync", None)
    if sync is not None:
        sync()


def compiled(function: Callable[..., None], changed: Sequence[Any], read: Sequence[Any]) -> Callable[..., None]:
    """Returns a function that assigns variables as one call of the backend; TensorFlow's without XLA, so bit for bit.

    Args:
        function: Gets tensors.
        changed: Keras variables that it reads and assigns.
        read: Those that it only reads.
    """
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=False)
    if keras.backend.backend() != "jax":
        return function
    import jax

    variables = [*changed, *read]

    @jax.jit
    def stateless(values: list[Any], *tensors: Any) -> list[Any]:
        with keras.StatelessScope(zip(variables, values, strict=True)) as scope:
            function(*tensors)
        return [scope.get_current_value(variable) for variable in changed]

    def call(*tensors: Any) -> None:
        for variable, value in zip(changed, stateless([v.value for v in variables], *tensors), strict=True):
            variable.assign(value)

    return call


@functools.cache
def _installed() -> dict[str, str]:
    from importlib import metadata

    found = {}
    for name in ("tensorflow-cpu", "tensorflow", "jax", "torch", "keras", "numpy", "scipy", "scikit-image", "nibabel"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def versions() -> dict[str, str]:
    """Returns the versions of everything that a result depends on, plugins and what they registered included."""
    import platform

    import keras

    found = {"python": platform.python_version(), "backend": keras.backend.backend(), **_installed()}
    for plugin in plugins.loaded():
        names = ", ".join(f"{kind} {name}" for kind, name in plugin.registered)
        found[f"plugin {plugin.file}"] = f"sha256 {plugin.sha256}: {names or 'nothing registered'}"
    return found


def has_bfloat16_units() -> bool:
    """Whether this machine computes bfloat16 in hardware: a GPU, or a CPU with AVX-512 BF16 or AMX."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        flags = file.read()
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False
