"""What all commands share: the main job's options, presets, error messages and exit codes."""

import errno
import json
import os
import re
import select
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

import tyro

from flat_dist.config.errors import IncompleteError, UserError, unknown
from flat_dist.config.options import CommandLine
from flat_dist.config.schema import Config
from flat_dist.config.serialization import from_yaml, presets
from flat_dist.config.validation import check_effect, validate
from flat_dist.runtime import interrupts
from flat_dist.storage.folder import Folder

DEFAULT_PRESET = "customer_reviews,robust"

TRACEBACK = "FLAT_DIST_TRACEBACK"
"""Environment variable: if it is set, errors of the operating system are shown with a traceback."""

INCOMPLETE = 3
"""Exit code of a run with results, of which a part failed."""

PIPE_CLOSED = 128 + 13
"""Exit code of a program that is ended by SIGPIPE, as shells report it."""

ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EACCES: "allow access",
    errno.EPERM: "allow access",
    errno.EROFS: "choose a place that can be written",
    errno.EMFILE: "raise `ulimit -n`",
    errno.ENFILE: "end other programs",
    errno.ENOMEM: "end other programs",
    errno.EIO: "check the disk",
    errno.ESTALE: "mount the file system again",
    errno.ENAMETOOLONG: "use a shorter name",
    errno.ELOOP: "fix the links",
    errno.ENOENT: "restore it",
    errno.ENOTDIR: "choose another place",
    errno.EISDIR: "choose another place",
    errno.ETIMEDOUT: "check the network",
    errno.ECONNREFUSED: "check the network",
    errno.EHOSTUNREACH: "check the network",
    errno.ENETUNREACH: "check the network",
}
"""What the user can do about an error of the operating system. Errors that are not listed count as bugs."""


@dataclass(frozen=True)
class Command:
    """The options of the main job."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    preset: str = DEFAULT_PRESET
    """Preset to start from: a name, or a YAML file (path or URI), or several separated by commas. Later presets replace
    fields of earlier ones, and the other options replace fields of all."""
    dry_run: bool = False
    """Print the resolved config and the plan, and exit."""
    json: bool = False
    """Print one JSON object as the last line of standard output."""


def parse(arguments: Sequence[str], description: str) -> Command:
    """Read the command line: options replace the fields of the preset.

    Raises:
        UserError: an option or the preset is unknown, or a value is invalid.
        SystemExit: `--help` was given (code 0).
    """
    line = CommandLine(Command, arguments)
    preset = line.value("--preset", DEFAULT_PRESET)
    command = line.read(with_presets(description), Command(load_preset(preset), preset))
    validate(command.config)
    check_effect(command.config, line.given)
    return command


def with_presets(description: str) -> str:
    """Add the names of the presets to a description."""
    return f"{description}\n\nPresets: {', '.join(presets())}."


def load_preset(names: str) -> Config:
    """Read presets (names or YAML files, separated by commas); later ones replace fields of earlier ones.

    Raises:
        UserError: a preset or file does not exist, or is malformed.
    """
    config = Config()
    for name in names.split(","):
        config = from_yaml(*_preset_text(name.strip()), config)
    return config


def _preset_text(name: str) -> tuple[str, str]:
    built_in = presets()
    if name in built_in:
        return built_in[name], f"preset {name}"
    if name.endswith((".yaml", ".yml")):
        place, slash, file = name.rpartition("/")
        folder = Folder((place or slash) or ".")
        if not folder.exists(file):
            raise UserError(f"preset file {name} does not exist")
        try:
            return folder.read(file).decode("utf-8-sig"), name
        except UnicodeDecodeError as error:
            raise UserError(f"preset file {name} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    raise unknown("preset", name, built_in)


def main(job: Callable[[Sequence[str]], None], interrupted: str = interrupts.CONTINUES) -> None:
    """Run a job on the command line's arguments.

    Errors that the user can fix, such as a wrong option or a full disk, are printed as one sentence on standard error,
    with exit code 2, or `INCOMPLETE` where the rest of a run has results. An interrupt prints how to continue, with
    exit code 130. If the reader of the output ends first, as `head` does, the job ends without a message.

    Args:
        job: takes the arguments.
        interrupted: what to say after an interrupt.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a letter that the terminal cannot print must not end the job
            stream.reconfigure(errors="backslashreplace")
    try:
        interrupts.raise_interrupt()
        try:
            job(sys.argv[1:])
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        _end_interrupted(interrupted)
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        _end("", PIPE_CLOSED)
    except Exception as error:
        if interrupts.was_interrupted():
            _end_interrupted(interrupted)
        message = message_of(error)
        if message is None or (TRACEBACK in os.environ and not isinstance(error, UserError)):
            raise
        _end(f"error: {message}", INCOMPLETE if isinstance(error, IncompleteError) else 2)


def message_of(error: BaseException) -> str | None:
    """The message for an error that the user can fix; None for a bug, which needs a traceback."""
    if isinstance(cause := getattr(error, "cause", None), Exception):  # Ray wraps errors of its workers
        error = cause
    if isinstance(error, UserError):
        return _one_line(str(error))
    if isinstance(error, OSError) and error.errno in ADVICE:
        where = f" ({error.filename})" if error.filename else ""
        reason = error.strerror or os.strerror(error.errno)
        return _one_line(f"{reason}{where}: {ADVICE[error.errno]}, and run the command again")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "allocate memory" in str(error):
        return "out of memory: end other programs, or do less at a time (--attack.concurrent, --training.micro-batch)"
    return None


def _one_line(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text)


def _end_interrupted(interrupted: str) -> None:
    interrupts.exit_silently()
    _end(f"interrupted; {interrupted}", interrupts.EXIT_CODE)


def _end(message: str, code: int) -> None:
    """End the process, even if its outputs are closed: Python would fail when it flushes them at exit."""
    with suppress(OSError):
        if message:
            print(message, file=sys.stderr, flush=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


def _reader_is_gone() -> bool:
    """Whether the reader of standard output or standard error has ended."""
    poll = select.poll()
    for number in (1, 2):
        poll.register(number, 0)
    return any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))


def print_json(value: object) -> None:
    """Print one line of JSON on standard output; letters that its encoding lacks are escaped."""
    print(json.dumps(value, ensure_ascii=not prints_utf8()), flush=True)


def prints_utf8() -> bool:
    """Whether standard output takes all letters."""
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
