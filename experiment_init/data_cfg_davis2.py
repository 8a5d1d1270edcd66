"""Split lists of DAVIS with twelve categories: videos. Those of data_cfg_davis.py."""

from experiment_init.data_cfg_davis import test, train, val  # noqa: F401
