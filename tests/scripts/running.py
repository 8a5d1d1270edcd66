"""Runs a script of `scripts/` in this process, as `core.app` would, with flags that are gone afterwards."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
from types import SimpleNamespace

from absl import flags

from fewslice.core.errors import FewSliceError
from tests.golden_files import REPOSITORY


@contextlib.contextmanager
def loaded(name, *arguments):
    """The script's module, its flags parsed from `arguments`."""
    kept = set(flags.FLAGS)
    spec = importlib.util.spec_from_file_location(f"{name}_under_test", REPOSITORY / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        flags.FLAGS([name, *map(str, arguments)])
        yield module
    finally:
        for flag in set(flags.FLAGS) - kept:
            delattr(flags.FLAGS, flag)


def run(name, *arguments):
    """Returns exit status, stdout and stderr (log and message of the error included)."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    handler, logger = logging.StreamHandler(err), logging.getLogger("absl")
    logger.addHandler(handler)
    try:
        with loaded(name, *arguments) as module, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            module.main([name])
    except SystemExit as error:
        status = error.code
    except FewSliceError as error:
        status = 1
        err.write(f"ERROR: {error}\n")
    finally:
        logger.removeHandler(handler)
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=err.getvalue())
