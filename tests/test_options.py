"""Command lines as dataclasses: names, lists, flags, and that all commands call a setting by one name."""

import dataclasses
import importlib
import sys
from typing import Any, Literal

import pytest

from flat_dist.config.errors import UserError
from flat_dist.config.options import CommandLine, options, read
from flat_dist.config.schema import Config, DataConfig, EvaluationConfig


@dataclasses.dataclass(frozen=True)
class Command:
    checkpoint: tuple[str, ...]
    preset: str = "sst2"
    kind: Literal["one", "two"] | None = None
    at_once: tuple[int, ...] = (1, 2)
    rate: float = 0.5
    json: bool = False
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)


def parsed(*arguments: str) -> Command:
    return read(Command, ["--checkpoint", "x", *arguments], "test", {"--attacks": "--evaluation.attacks"})


@pytest.mark.parametrize(
    "arguments",
    [
        ["--data.text-column", "words"],
        ["--data.text_column", "words"],
        ["--data.text-column=words"],
        ["--data.text_column=words"],
        ["--data.text-column", "other", "--data.text_column", "words"],
    ],
)
def test_option_names_take_underscores_and_hyphens(arguments: list[str]) -> None:
    assert parsed(*arguments).data.text_column == "words"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--evaluation.attacks", "textfooler", "pwws"],
        ["--evaluation.attacks", "textfooler,pwws"],
        ["--evaluation.attacks=textfooler,pwws"],
        ["--attacks", "textfooler,pwws"],
        ["--attacks=textfooler", "pwws"],
    ],
)
def test_choices_are_separated_by_spaces_or_commas(arguments: list[str]) -> None:
    assert parsed(*arguments).evaluation.attacks == ("textfooler", "pwws")


def test_commas_separate_numbers_but_not_names_of_the_user() -> None:
    command = parsed("--at-once", "1,10", "100", "--data.label_names", "a, b", "c")
    assert command.at_once == (1, 10, 100)
    assert command.data.label_names == ("a, b", "c")
    assert read(Command, ["--checkpoint", "a,b", "c=d"], "test").checkpoint == ("a,b", "c=d")
    assert parsed("--evaluation.explain").evaluation.explain == ()


def test_values_may_look_like_options() -> None:
    assert parsed("--data.text-column=--json", "--rate", "-1").data.text_column == "--json"
    assert parsed("--rate", "-1").rate == -1
    assert parsed("--data.text-column", "a=b").data.text_column == "a=b"
    assert parsed("--data.text-column", "-x").data.text_column == "-x"


def test_flags_and_optional_values() -> None:
    assert parsed("--json").json and not parsed("--json", "--no-json").json
    assert parsed("--kind", "one").kind == "one"
    assert parsed("--kind", "none").kind is None and parsed("--data.folder", "None").data.folder is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "three"], "unknown value of --kind 'three': choose one of one, two"),
        (["--at-once", "1,x"], "--at-once is 'x', but must be a whole number"),
        (["--json=yes"], "--json takes no value"),
        (["--text-column", "x"], "unknown option '--text-column': did you mean --data.text-column?"),
        (["--no-preset"], "unknown option '--no-preset'"),
    ],
)
def test_errors_name_the_option_and_the_value(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        parsed(*arguments)
    assert message in str(error.value)


def test_errors_of_tyro_are_one_line() -> None:
    @dataclasses.dataclass(frozen=True)
    class Odd:
        when: complex = 1j

    with pytest.raises(UserError) as error:
        read(Odd, ["--when", "soon"], "test")
    assert "--when" in str(error.value) and "\n" not in str(error.value) and "│" not in str(error.value)


# ---- the commands


def command_of(name: str) -> Any:
    return importlib.import_module(f"flat_dist.commands.{name}")


def kinds_of(module: Any) -> list[type]:
    return list(module.VERBS.values()) if hasattr(module, "VERBS") else [module.Command]


OWN = {
    "--json",
    "--preset",
    "--dry-run",
    "--checkpoint",
    "--adversarial",
    "--annotate",
    "--annotated",
    "--trained-on",
    "--fail-under",
    "--junit",
    "--batch-size",
    "--run",
    "--resend",
    "--examples",
    "--endpoint.batch-size",
    "--endpoint.timeout",
    "--endpoint.retries",
    "--endpoint.rate",
}
"""What is no field of a run's config."""


@pytest.mark.parametrize("name", ["evaluate", "attack", "predict", "export", "report", "bench", "tune"])
def test_a_setting_has_one_name_in_every_command(name: str) -> None:
    module = command_of(name)
    of_config = options(Config)
    for kind in kinds_of(module):
        known = options(kind)
        own = OWN | {f"--{field.name}".replace("_", "-") for field in dataclasses.fields(kind) if name != "evaluate"}
        if name == "tune":
            own |= {one for one in known if one.startswith("--space.") or one in options(module.Settings)}
        for one, option in known.items():
            assert one in of_config or one in own, one
            if one in of_config and name != "tune":
                assert (option.kind, option.many) == (of_config[one].kind, of_config[one].many)
    for short, full in getattr(module, "RENAMED", {}).items():
        assert short not in of_config or short == full
        assert any(full in options(kind) for kind in kinds_of(module)), full


@pytest.mark.parametrize(
    "name",
    [
        *("train", "evaluate", "attack", "predict", "export", "report", "bench", "prepare", "tune", "reproduce"),
        "bench attack",
    ],
)
def test_help_names_the_command_and_gives_an_example(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *verb = name.split()
    module = command_of(command)
    monkeypatch.setattr(sys, "argv", [f"flat-dist {command}"])
    with pytest.raises(SystemExit) as ended:
        module.job([*verb, "--help"])
    out, said = capsys.readouterr()
    assert not ended.value.code and said == ""
    assert f"flat-dist {name}" in out
    if command != "prepare" and not verb:
        assert f"\n  flat-dist {command} " in out or f"| flat-dist {command} " in out  # an example


def test_documented_short_forms_still_work() -> None:
    evaluate, attack, bench, report = (command_of(name) for name in ("evaluate", "attack", "bench", "report"))
    given = ["--checkpoint", "x", "--attacks", "textfooler,pwws", "--explain", "ig", "--ig-pairs", "45"]
    evaluation = CommandLine(evaluate.Command, given, evaluate.RENAMED).read("test").evaluation
    assert (evaluation.attacks, evaluation.explain, evaluation.ig_pairs) == (("textfooler", "pwws"), ("ig",), 45)
    given = ["--checkpoint", "x", "--examples", "30", "--split", "dev", "--attack.profile"]
    command = CommandLine(attack.Command, given, attack.RENAMED).read("test")
    assert (command.evaluation.sample, command.evaluation.split, command.attack.profile) == (30, "dev", True)
    line = CommandLine(report.Command, ["--run", "x", "--tracking-uri", "y"], report.RENAMED)
    assert line.read("test").tracking_uri == "y"
    for arguments in (
        "attack --recipe pwws --model lstm --data.folder x",
        "attack --attack.name pwws --model.name lstm data:data-config --data.folder x",
    ):
        _, config = bench.parse(arguments.split())
        assert (config.attack.name, config.model.name, config.data.folder) == ("pwws", "lstm", "x")
        assert config.training.epochs == 6 and config.model.dropout == 0.2  # the presets'
    _, config = bench.parse(["interpret", "--method", "lime", "--evaluation.lime-samples", "50", "--seed", "7"])
    assert (config.evaluation.explain, config.evaluation.lime_samples, config.seed) == (("lime",), 50, 7)
