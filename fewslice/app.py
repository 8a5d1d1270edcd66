"""The frame around every script: flags in, `main`, one clear message out.

A user's mistake ends with one message and exit status 1, Ctrl-C with 130, `--help` with 0. Only defects show a
traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags

from fewslice import console
from fewslice.errors import FewSliceError


def run(main: Callable[[Sequence[str]], object]) -> None:
    """Runs `main` under absl with our treatment of errors.

    Args:
        main: Called with a list that holds the program's name; our scripts have flags and no other arguments.
    """

    def guarded(argv: Sequence[str]) -> None:
        console.set_up()
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when the backend is imported
        try:
            main(argv)
        except FewSliceError as error:
            _refuse(str(error))
        except KeyboardInterrupt as error:
            sys.stdout.flush()
            print(f"\n{error or 'Interrupted.'} Repeat the same command to continue.", file=sys.stderr)
            sys.exit(130)

    app.run(guarded, flags_parser=_parse)


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags and returns the program's name. A mistake is one message that names the argument."""
    try:
        rest = flags.FLAGS(list(argv))
    except flags.Error as error:
        _refuse(f"{error}\nThe flags are listed by --help.")
    except SystemExit:  # a help flag has printed what was asked for; absl calls that a failure
        sys.exit(0)
    words = [word for word in rest[1:] if not word.startswith("-")]  # flags after a word are not read
    if words:
        _refuse(
            f"Unexpected argument{'s' * (len(words) > 1)}: {' '.join(words)}. Flags are written --name=value, switches "
            "--name or --noname.\nThe flags are listed by --help."
        )
    return rest[:1]


def _refuse(message: str) -> NoReturn:
    sys.stdout.flush()
    print(f"\nERROR: {message}", file=sys.stderr)
    sys.exit(1)
