"""The frame around every script: flags in, plugins, `main`, one clear message out.

A user's mistake ends with one message and exit status 1, Ctrl-C with 130, `--help` with 0; output that nobody reads to
its end (`| head`) ends the script without a message. Output that cannot be written (a full disk) stops no work: one
message at the end says so. Only defects show a traceback.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags

from fewslice.core import console, files, limits, plugins
from fewslice.core.errors import ConfigError, FewSliceError, is_utf8

_PR_SET_PDEATHSIG = 1
# Parameters of the C library's mallopt: memory that it takes at a time, keeps when it is freed, and maps apart.
_KEPT = {"M_TOP_PAD": (-2, 64 << 20), "M_TRIM_THRESHOLD": (-1, 2**31 - 1), "M_MMAP_THRESHOLD": (-3, 32 << 20)}


def run(
    main: Callable[[Sequence[str]], object], *, flags_of: Callable[[Sequence[str]], list[str]] | None = None
) -> None:
    """Runs `main` under absl with our treatment of errors.

    Args:
        main: Called with a list that holds the program's name; our scripts have flags and no other arguments.
        flags_of: Arguments in the form of other software -> flags. Raises `ConfigError`.
    """

    def guarded(argv: Sequence[str]) -> None:
        console.set_up()
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when the backend is imported
        try:
            limits.set_most(flags.FLAGS[limits.FLAG].value)
            plugins.load(flags.FLAGS[plugins.FLAG].value)
            main(argv)
        except FewSliceError as error:
            _refuse(str(error))
        except OSError as error:
            if not (error.filename or isinstance(error, PermissionError)):
                raise
            _refuse(str(files.unreadable(error.filename or "A file", error)))
        except UnicodeEncodeError as error:
            lines = [line for line in error.object.splitlines() if not is_utf8(line)]
            if not lines:
                raise
            _refuse(f"A name or path is no text in UTF-8: {lines[0]!a}. Rename it with plain letters and digits.")
        except (MemoryError, ImportError) as error:
            if isinstance(error, ImportError) and not re.search("allocate memory|map segment", str(error)):
                raise
            text = "Close other programs, raise a limit (ulimit -v), or work on fewer or smaller volumes at a time."
            _refuse(f"Memory runs out: {str(error) or 'none is left'}. Nothing already written is harmed. {text}")
        except KeyboardInterrupt as error:
            sys.stdout.flush()
            print(f"\n{error or 'Interrupted.'} Repeat the same command to continue.", file=sys.stderr)
            sys.exit(130)

    console.open_streams()
    keep_memory()
    if os.environ.get("FEWSLICE_CHAIN") and sys.platform == "linux":  # chain.sh: a signal comes when that shell dies
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    flags.DEFINE_multi_string(plugins.FLAG, [], plugins.HELP)
    flags.DEFINE_float(limits.FLAG, limits.DEFAULT, limits.HELP, lower_bound=0.0)
    for name in (plugins.FLAG, limits.FLAG):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])  # `--help` shows it
    try:
        if flags_of is not None:
            sys.argv[1:] = flags_of(sys.argv[1:])
        app.run(guarded, flags_parser=_parse)
    except ConfigError as error:  # what `main` raises is `guarded`
        _refuse(str(error))
    except BrokenPipeError:
        if not _lost_reader():
            raise
        sys.exit(128 + 13)  # as shells count a program that SIGPIPE ends on its way
    finally:
        _flush()


def keep_memory() -> None:
    """Lets the C library keep freed memory, since a training asks for the same large blocks in every step.

    Else the kernel clears each of their pages anew: a third of the CPU time on two cores (benchmarks/README.md).
    TensorFlow lowers M_MMAP_THRESHOLD to 128 KiB where a dataset of Python batches begins, under Python 3.11 and later,
    so trainings call this again.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    for parameter, size in _KEPT.values() if mallopt else ():
        mallopt(parameter, size)


def _flush() -> None:
    """Writes what is left of the standard output; nowhere if nobody reads it, of which Python would complain."""
    try:
        print(end="", flush=True)
    except BrokenPipeError:
        console.discard_output()
    problem, ending = getattr(sys.stdout, "problem", ""), sys.exc_info()[1]
    if problem and (ending is None or (isinstance(ending, SystemExit) and not ending.code)):
        _refuse(f"The output could not be written: {problem}. The work itself is done, and its files are whole.")


def _lost_reader() -> bool:
    """Whether it is the standard output that nobody reads any more, not another pipe."""
    if not hasattr(select, "poll"):  # Windows
        return True
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags and returns the program's name. A mistake is one message that names the argument."""
    arguments = [argv[0], *map(_argument, argv[1:])]  # a refusal here is no help flag
    try:
        rest = flags.FLAGS(arguments)
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


def _argument(text: str) -> str:
    """Returns an argument with the home folder for ~ at the begin of a path, which shells leave alone in --flag=~/x."""
    if not is_utf8(text):
        _refuse(f"The argument {text!a} is no text in UTF-8. Rename the file or folder, or choose another name.")
    flag, setting, path = re.fullmatch(r"(--?\w+=)?([\w.]+=)?(.*)", text, re.DOTALL).groups("")
    if not path.startswith("~") or (path == "~" and (setting or not flag)):  # in a setting ~ alone is YAML's null
        return text
    home = os.path.expanduser(path)
    if home == path:
        _refuse(f"{text}: no home folder is known for {path.split('/')[0]}. Write the path in full.")
    return flag + setting + home


def _refuse(message: str) -> NoReturn:
    sys.stdout.flush()
    print(f"\nERROR: {message}", file=sys.stderr)
    sys.exit(1)
