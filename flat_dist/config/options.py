"""Reads a command line into a dataclass, and reports the first error in one sentence.

tyro builds the dataclass and writes the help. This module checks the arguments first, so that all commands follow the
same rules: option names may be written with `_` or `-`; values of a list are separated by spaces or commas; a list is
given once, unless its values are marked as repeatable.
"""

import contextlib
import dataclasses
import difflib
import io
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar

import tyro

from flat_dist.config.choices import literals
from flat_dist.config.errors import UserError, check_text, quoted, unknown
from flat_dist.config.schema import Checked

T = TypeVar("T")

HELP = ("-h", "--help")

KINDS = {int: "a whole number", float: "a number"}
"""Types that need parsing, as error messages name them."""


@dataclasses.dataclass(frozen=True)
class Option:
    """The values that an option takes, and the field that it sets."""

    kind: type
    owner: type
    """The dataclass that has the field."""
    field: str
    many: bool = False
    """It takes any number of values."""
    optional: bool = False
    """`none` is a valid value."""
    required: bool = False
    choices: tuple[str, ...] = ()
    commas: bool = False
    """Commas separate its values. False for names and paths of the user, which may contain commas."""
    check: Callable[[str, str], None] | None = None
    """Checks a value, given what it is called in messages."""
    repeatable: bool = False
    """It may be given several times, and has the values of all."""


def options(kind: type, prefix: str = "--") -> dict[str, Option]:
    """The options of a dataclass, by name. Options of a section begin with its name and a dot, as in `--data.name`."""
    hints = typing.get_type_hints(kind, include_extras=True)
    found: dict[str, Option] = {}
    for field in dataclasses.fields(kind):
        hint, name = hints[field.name], field.name.replace("_", "-")
        if typing.get_origin(hint) is Annotated and not isinstance(hint.__metadata__[0], Checked):
            hint, settings = typing.get_args(hint)
            name = settings.name
        if dataclasses.is_dataclass(hint):
            found |= options(typing.cast(type, hint), f"{prefix}{name}." if name else prefix)
            continue
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        found[f"{prefix}{name}"] = _option(hint, required, kind, field.name)
    return found


def _option(hint: Any, required: bool, owner: type, field: str) -> Option:
    many = typing.get_origin(hint) is tuple
    if many:
        hint = typing.get_args(hint)[0]
    optional = types.NoneType in typing.get_args(hint)
    if optional:
        (hint,) = (one for one in typing.get_args(hint) if one is not types.NoneType)
    check, repeatable = None, False
    if typing.get_origin(hint) is Annotated:
        hint, mark = typing.get_args(hint)
        check, repeatable = mark.check, mark.repeatable
    choices = literals(hint)
    kind = str if choices else hint
    commas = many and (kind in KINDS or bool(choices or check))
    return Option(kind, owner, field, many, optional, required, choices, commas, check, repeatable)


class CommandLine(Generic[T]):
    """A parsed command line.

    Args:
        kind: the dataclass to build.
        arguments: the arguments of the command.
        renamed: short or former names of options, and the name of the option that each means.

    Raises:
        UserError: an option is unknown, has too many or too few values, or a value of the wrong type.
    """

    def __init__(self, kind: type[T], arguments: Sequence[str], renamed: Mapping[str, str] | None = None):
        self.kind = kind
        self.known = options(kind)
        flags = [name for name, option in self.known.items() if option.kind is bool]
        self.switches = {*flags, *map(_off, flags)}
        self.wants_help = any(argument in HELP for argument in arguments)
        self.given: dict[str, list[str]] = {}
        self.flags: list[str] = []
        current = ""
        for argument in arguments:
            if argument in HELP:
                continue
            if not argument.startswith("--"):
                self._take(current, argument)
                continue
            spelled, equals, value = argument.partition("=")
            name = spelled.replace("_", "-")
            current = self._open((renamed or {}).get(name, name), spelled, bool(equals))
            if equals:
                self._take(current, value)
        for name, values in self.given.items():
            if not values and not self.known[name].many:
                raise UserError(f"{name} needs a value: give one after it")

    def _open(self, name: str, spelled: str, has_value: bool) -> str:
        """Begin an option or a flag; the values that follow belong to it."""
        if name in self.switches:
            if has_value:
                raise UserError(f"{name} takes no value: leave out the = and what follows it")
            self.flags.append(name)
            return name
        if name not in self.known:
            raise self._unknown(name, spelled)
        option = self.known[name]
        if option.many and name in self.given and not option.repeatable:
            raise UserError(f"{name} is given twice: give it once, with all its values")
        self.given[name] = self.given.get(name, []) if option.repeatable else []
        return name

    def _unknown(self, name: str, spelled: str) -> UserError:
        last = name.rpartition(".")[2].removeprefix("--")
        near = [one for one in self.known if one.rpartition(".")[2].removeprefix("--") == last]
        near = near or self._similar(name)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        return UserError(f"unknown option {quoted(spelled)}: {hint}--help lists all options")

    def _similar(self, name: str) -> list[str]:
        """The most similar option. In a group, only the last part counts: the options of a group begin alike."""
        prefix = name[: name.rfind(".") + 1]
        group = {one.removeprefix(prefix): one for one in self.known if prefix and one.startswith(prefix)}
        if group:
            close = difflib.get_close_matches(name.removeprefix(prefix), group, n=1)
            return [group[one] for one in close]
        return difflib.get_close_matches(name, self.known, n=1, cutoff=0.75)

    def _take(self, name: str, value: str) -> None:
        if name not in self.given or (self.given[name] and not self.known[name].many):
            takes = "one value" if name in self.given else "no value"
            reason = f"{name}, before it, takes {takes}" if name else "options begin with --"
            raise UserError(f"{quoted(value)} belongs to no option: {reason}")
        option = self.known[name]
        for one in value.split(",") if option.commas else [value]:
            self.given[name].append(_check_value(name, option, one))

    def value(self, name: str, default: str) -> str:
        """The value of an option that takes one; `default` if it was not given."""
        return self.given[name][0] if name in self.given else default

    def read(self, description: str | None, default: T | None = None, prog: str | None = None) -> T:
        """Build the dataclass. Options that were not given have their values in `default`, or their own defaults.

        Raises:
            UserError: an option without a default is missing.
            SystemExit: `--help` was given (code 0).
        """
        for name, option in self.known.items():
            if option.required and default is None and name not in self.given and not self.wants_help:
                raise UserError(f"{name} is missing: it is required (see --help)")
        arguments = ["--help"] if self.wants_help else list(self.flags)
        for name, values in self.given.items():
            arguments += [name, *values] if self.known[name].many else [f"{name}={values[0]}"]
        default_of_tyro: Any = {} if default is None else {"default": default}
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            try:
                return tyro.cli(self.kind, args=arguments, description=description, prog=prog, **default_of_tyro)
            except SystemExit as ended:
                if not ended.code:
                    raise
        raise UserError(" ".join(re.sub(r"[╭╮╰╯│─]", " ", errors.getvalue()).split()))


def _off(flag: str) -> str:
    """The option that turns a flag off: --no-json for --json, --tracking.no-enabled for --tracking.enabled."""
    head, dot, last = flag.removeprefix("--").rpartition(".")
    return f"--{head}{dot}no-{last}"


def _check_value(name: str, option: Option, value: str) -> str:
    """Check one value, and return it as tyro reads it."""
    if option.optional and value.lower() == "none":
        return "None"
    if option.kind in KINDS:
        try:
            option.kind(value)
        except ValueError:
            raise UserError(f"{name} is {quoted(value)}, but must be {KINDS[option.kind]}") from None
        return value
    check_text(name, value)
    if option.choices and value not in option.choices:
        raise unknown(f"value of {name}", value, option.choices)
    if option.check:
        option.check(value, f"value of {name}")
    return value


def read(
    kind: type[T], arguments: Sequence[str], description: str | None, renamed: Mapping[str, str] | None = None
) -> T:
    """Read a command line into a dataclass.

    Raises:
        UserError: an option is unknown or missing, has too many or too few values, or a value of the wrong type.
        SystemExit: `--help` was given (code 0).
    """
    return CommandLine(kind, arguments, renamed).read(description)
