"""Command lines from the config dataclasses, and how a command ends."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from flat_dist import interrupts
from flat_dist.config import Config, UserError, from_yaml, presets, unknown, validate
from flat_dist.data.storage import Folder

DEFAULT_PRESET = "rotten_tomatoes"


@dataclass(frozen=True)
class Command:
    """What a job was asked to do."""

    config: Config
    dry_run: bool
    json: bool


@dataclass(frozen=True)
class _Arguments:
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
        UserError: the preset is unknown, or a value is one that no run could use.
        SystemExit: an option is unknown or malformed (code 2), or help was asked for (code 0).
    """
    preset = preset_name(arguments)
    default = _Arguments(load_preset(preset), preset)
    parsed = tyro.cli(
        _Arguments,
        args=list(arguments),
        default=default,
        description=f"{description}\n\nPresets: {', '.join(presets())}.",
    )
    validate(parsed.config)
    return Command(parsed.config, parsed.dry_run, parsed.json)


def preset_name(arguments: Sequence[str]) -> str:
    """The preset that a command line names, or the default one."""
    for position, argument in enumerate(arguments):
        if argument == "--preset" and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith("--preset="):
            return argument.partition("=")[2]
    return DEFAULT_PRESET


def split_commas(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """The arguments, with the values of some options taken apart at commas."""
    found: list[str] = []
    option = ""
    for argument in arguments:
        option = argument if argument.startswith("--") else option
        found += argument.split(",") if option in options else [argument]
    return found


def load_preset(names: str) -> Config:
    """A built-in preset, or one from a YAML file, or several, separated by commas, of which later ones win.

    Raises:
        UserError: there is no such preset or file, or it is malformed.
    """
    config = Config()
    for name in names.split(","):
        config = from_yaml(*_preset_text(name), config)
    return config


def _preset_text(name: str) -> tuple[str, str]:
    built_in = presets()
    if name in built_in:
        return built_in[name], f"preset {name}"
    if name.endswith((".yaml", ".yml")):
        place, _, file = name.rpartition("/")
        try:
            return Folder(place or ".").read(file).decode(), name
        except FileNotFoundError as error:
            raise UserError(f"preset file {name} does not exist") from error
    raise unknown("preset", name, built_in)


def main(job: Callable[[Sequence[str]], None]) -> None:
    """Run a job: a user's mistake is one sentence and exit code 2; an interruption says how to go on, code 130."""
    try:
        interrupts.raise_interrupt()
        job(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        interrupts.end_in_silence()
        print(interrupts.SAID, file=sys.stderr)
        sys.exit(interrupts.CODE)


def print_json(value: object) -> None:
    """One line of JSON on standard output."""
    print(json.dumps(value, ensure_ascii=False), flush=True)
