"""The frame around every script: flags in, plugins, `main`, one clear message out.

A user's mistake ends with one message and exit status 1, Ctrl-C with 130, `--help` with 0; output that nobody reads to
its end (`| head`) ends the script without a message. Only defects show a traceback.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags

from fewslice.core import console, plugins
from fewslice.core.errors import FewSliceError, is_utf8

_NO_TEXT = "is no text in UTF-8. Rename the file or folder with plain letters and digits."


def run(main: Callable[[Sequence[str]], object]) -> None:
    """Runs `main` under absl with our treatment of errors.

    Args:
        main: Called with a list that holds the program's name; our scripts have flags and no other arguments.
    """

    def guarded(argv: Sequence[str]) -> None:
        console.set_up()
        if sys.stdout is not None:
            sys.stdout.reconfigure(errors="backslashreplace")  # names that the terminal's encoding lacks
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when the backend is imported
        try:
            plugins.load(flags.FLAGS[plugins.FLAG].value)
            main(argv)
        except FewSliceError as error:
            _refuse(str(error))
        except UnicodeEncodeError as error:
            if is_utf8(error.object):
                raise
            lines = [line for line in error.object.splitlines() if not is_utf8(line)]
            _refuse(f"{os.fsencode(lines[0])!r} {_NO_TEXT}")
        except KeyboardInterrupt as error:
            sys.stdout.flush()
            print(f"\n{error or 'Interrupted.'} Repeat the same command to continue.", file=sys.stderr)
            sys.exit(130)

    flags.DEFINE_multi_string(plugins.FLAG, [], plugins.HELP)
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[plugins.FLAG])  # `--help` shows it
    try:
        app.run(guarded, flags_parser=_parse)
    except BrokenPipeError:
        if not _lost_reader():
            raise
        sys.exit(128 + signal.SIGPIPE)  # as shells count a program that this ends on its way
    finally:
        _flush()


def _flush() -> None:
    """Writes what is left of the standard output; nowhere if nobody reads it, of which Python would complain."""
    try:
        print(end="", flush=True)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _lost_reader() -> bool:
    """Whether it is the standard output that nobody reads any more, not another pipe."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags and returns the program's name. A mistake is one message that names the argument."""
    if strange := [os.fsencode(word) for word in argv if not is_utf8(word)]:
        _refuse(f"{strange[0]!r} {_NO_TEXT}")
    try:
        rest = flags.FLAGS(list(argv))
    except flags.Error as error:
        _refuse(f"{error}\nThe flags are listed by --help.")
    except (SystemExit, BrokenPipeError):  # a help flag has printed what was asked for; absl calls that a failure
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
