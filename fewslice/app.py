"""The frame around every script: flags in, `main`, one clear message out.

A user's mistake ends with one message and exit status 1, Ctrl-C with 130; only defects show a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from absl import app

from fewslice import console
from fewslice.errors import FewSliceError


def run(main: Callable[[Sequence[str]], object]) -> None:
    """Runs `main` under absl with our treatment of errors.

    Args:
        main: Called with the arguments that are not flags, including the program's name.
    """

    def guarded(argv: Sequence[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}. Flags are written --name=value.")
        console.set_up()
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when the backend is imported
        try:
            main(argv)
        except FewSliceError as error:
            sys.stdout.flush()
            print(f"\nERROR: {error}", file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt as error:
            sys.stdout.flush()
            print(f"\n{error or 'Interrupted.'} Repeat the same command to continue.", file=sys.stderr)
            sys.exit(130)

    app.run(guarded)
