"""Presets, and how a command begins and ends."""

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

from flat_dist.config.errors import UserError, unknown
from flat_dist.config.options import Line
from flat_dist.config.schema import Config
from flat_dist.config.serialization import from_yaml, presets
from flat_dist.config.validation import validate
from flat_dist.runtime import interrupts
from flat_dist.storage.folder import Folder

DEFAULT_PRESET = "rotten_tomatoes"

TRACEBACK = "FLAT_DIST_TRACEBACK"
"""Environment variable: where it is set, a failure of the surroundings shows where it came from."""

PIPE_CLOSED = 128 + 13
"""Exit code of a program that SIGPIPE ends, as shells report it."""

ADVICE = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EACCES: "give access",
    errno.EPERM: "give access",
    errno.EROFS: "name a place that can be written",
    errno.EMFILE: "raise `ulimit -n`",
    errno.ENFILE: "end other programs",
    errno.ENOMEM: "end other programs",
    errno.EIO: "look after the disk",
    errno.ESTALE: "mount the file system again",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "mend the links",
    errno.ENOENT: "bring it back",
    errno.ENOTDIR: "name another place",
    errno.EISDIR: "name another place",
    errno.ETIMEDOUT: "look after the network",
    errno.ECONNREFUSED: "look after the network",
    errno.EHOSTUNREACH: "look after the network",
    errno.ENETUNREACH: "look after the network",
}
"""What to do about errors of the operating system that come from the surroundings. Others are taken for bugs."""


@dataclass(frozen=True)
class Command:
    """What the main job was asked to do."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    preset: str = DEFAULT_PRESET
    """Named configuration to start from, or a YAML file of one (path or URI), or several with commas between, of which
    later ones replace fields of earlier ones; the other options replace fields of the outcome."""
    dry_run: bool = False
    """Print the resolved config and the plan, and exit."""
    json: bool = False
    """Print one JSON object as the last line of standard output."""


def parse(arguments: Sequence[str], description: str) -> Command:
    """The command line's config: a preset, with the fields that options name replaced.

    Raises:
        UserError: an option or the preset is unknown, or a value is one that no run could use.
        SystemExit: help was asked for (code 0).
    """
    line = Line(Command, arguments)
    preset = line.value("--preset", DEFAULT_PRESET)
    command = line.read(with_presets(description), Command(load_preset(preset), preset))
    validate(command.config)
    return command


def with_presets(description: str) -> str:
    """A description, with the names of the presets."""
    return f"{description}\n\nPresets: {', '.join(presets())}."


def load_preset(names: str) -> Config:
    """A built-in preset, or one from a YAML file, or several, separated by commas, of which later ones win.

    Raises:
        UserError: there is no such preset or file, or it is malformed.
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

    A user's mistake, and what the surroundings do (a full disk, a missing permission), is one sentence on standard
    error and exit code 2. An interruption says how to go on, code 130. A reader of the output who goes away, as `head`
    does, ends the job in silence.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what a terminal has no letters for must not end a job
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
        said = sentence(error)
        if said is None or (TRACEBACK in os.environ and not isinstance(error, UserError)):
            raise
        _end(f"error: {said}", 2)


def sentence(error: BaseException) -> str | None:
    """What a user is told of an error; None where it is a bug, which a traceback tells more of."""
    if isinstance(cause := getattr(error, "cause", None), Exception):  # Ray wraps what happened elsewhere
        error = cause
    if isinstance(error, UserError):
        return _one_line(str(error))
    if isinstance(error, OSError) and error.errno in ADVICE:
        where = f" ({error.filename})" if error.filename else ""
        said = error.strerror or os.strerror(error.errno)
        return _one_line(f"{said}{where}: {ADVICE[error.errno]}, and give the command again")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "allocate memory" in str(error):
        return (
            "the memory is full: end other programs, or do less at once (--attack.concurrent, --training.micro-batch)"
        )
    return None


def _one_line(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text)


def _end_interrupted(interrupted: str) -> None:
    interrupts.exit_silently()
    _end(f"interrupted; {interrupted}", interrupts.CODE)


def _end(said: str, code: int) -> None:
    """End the process, whatever became of its outputs: Python would write to them once more."""
    with suppress(OSError):
        if said:
            print(said, file=sys.stderr, flush=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


def _reader_is_gone() -> bool:
    """Whether nobody reads standard output or standard error any more."""
    poll = select.poll()
    for number in (1, 2):
        poll.register(number, 0)
    return any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))


def print_json(value: object) -> None:
    """One line of JSON on standard output, in letters that it takes."""
    utf8 = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    print(json.dumps(value, ensure_ascii=not utf8), flush=True)
