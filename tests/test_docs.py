"""README, CONTRIBUTING and docs/: commands run, and options, links, files and names in the code exist.

Commands of this project run in this process until they would start Ray. Their folder holds the files that the
pages name, such as `a.csv` and `FOLDER`. Ray's own command line parses Ray's commands, and `make -n` those of make.
"""

import ast
import importlib
import inspect
import itertools
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO, TextIOWrapper
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import datasets as hf
import numpy as np
import pytest
import ray
import torch
import yaml
from transformers import BertConfig, BertModel, BertTokenizerFast

from flat_dist import __all__ as api_names
from flat_dist import __version__, api, cli
from flat_dist.commands.main import EXAMPLES, VERBS
from flat_dist.config.options import options
from flat_dist.config.schema import Config, ModelConfig
from flat_dist.config.serialization import to_dict
from flat_dist.data import hub
from flat_dist.data.datasets import LABEL_NAMES
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import Vocabulary
from flat_dist.data.readers import Row, Rows
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.pipeline import own_models
from flat_dist.pipeline.results import RESULTS
from flat_dist.reproduction.publish import END, START
from flat_dist.storage.folder import Folder
from tests.markdown import FENCE, ROOT, Command, Page, pages
from tests.own_models import save_bert
from tests.pages import results

PAGES = pages()
COMMANDS = [command for page in PAGES for command in page.commands()]

NOT_RUN = {
    ".venv/bin/pip install torch==2.13.0+cu126": "downloads a build of torch",
    ".venv/bin/python -c import torch": "asks for a GPU",
    "python examples/own_csv.py": "tests/pipeline/test_api.py runs it",
    "python examples/http_model.py": "tests/pipeline/test_examples.py runs it",
    "python examples/huggingface_classifier.py": "tests/pipeline/test_examples.py runs it",
    "mlflow ui --backend-store-uri": "runs until it is stopped; tests/pipeline/test_main_job.py reads its database",
    "mlflow models serve": "tests/test_served_model.py serves a model",
    "curl http://127.0.0.1:5001/invocations": "tests/test_served_model.py sends such a request",
    "pip install --require-hashes": "installs everything again; tests/test_locks.py looks at the locks",
    "pip install --no-deps .": "tests/test_package.py installs the wheel",
    "pip install .": "tests/test_package.py installs the wheel",
    "pre-commit install": "pre-commit is not in the environment; the hooks' commands are compared with `make lint`",
    "export RAY_AUTH_MODE=token": "sets a variable",
    "umask 077": "part of the shell",
}
"""Beginnings of commands that are not run, and why."""

SCRIPTS = {
    "jobs/flat_round.py": "train",
    "jobs/attack.py": "attack",
    "jobs/evaluate.py": "evaluate",
    "jobs/predict.py": "predict",
    "jobs/report.py": "report",
    "jobs/bench.py": "bench",
    "jobs/prepare.py": "prepare",
    "jobs/reproduce.py": "reproduce",
    "tuning/sweep.py": "tune",
}
"""What each script is of `flat-dist`."""

LONG_RUNNING = ("train", "tune", "reproduce")
"""Commands that can say what they would do."""

SPLITS = ("train", "dev", "test")
NLI = ("contradiction", "entailment", "neutral")
STORAGES = ("s3://bucket/runs", "/absolute/path/runs")


class StartedError(BaseException):
    """A command has read all that it was given, and would now start Ray."""


@cache
def ray_group() -> click.Group:
    """Ray's command line; its import takes a second, and warns of Ray's own use of pydantic."""
    with warnings.catch_warnings(action="ignore"):
        group: click.Group = importlib.import_module("ray.scripts.scripts").cli
    return group


def module_of(verb: str) -> ModuleType:
    return importlib.import_module(f"flat_dist.commands.{verb}")


def verb_of(words: list[str]) -> tuple[str, list[str]]:
    """The command of `flat-dist` that a line means, and its arguments."""
    if words[0] == "flat-dist":
        return words[1], words[2:]
    assert words[0] == "python"
    return ("resources", words[3:]) if words[1:3] == ["-m", "flat_dist.resources"] else (SCRIPTS[words[1]], words[2:])


def sentences(classes: int) -> list[tuple[str, int]]:
    words = ("good", "bad", "fine", "dull", "long", "short")
    return [(f"a {words[label]} film number {number}", label) for number in range(3) for label in range(classes)]


@pytest.fixture(scope="module")
def files(tokenizer: BertTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages' commands name."""
    folder = tmp_path_factory.mktemp("named")
    write_texts(folder)
    write_models(folder, tokenizer)
    run = folder / "runs" / "NAME"
    run.mkdir(parents=True)
    (run / RESULTS).write_text(json.dumps([to_dict(result) for result in results()]))
    return folder


def write_texts(folder: Path) -> None:
    csv = "text,label\n" + "".join(f"{text},{label}\n" for text, label in sentences(2))
    for name in ("sst2", "ag_news"):
        (folder / "path" / "to" / name).mkdir(parents=True)
    for own, split in zip(("a.csv", "b.csv", "c.csv"), SPLITS, strict=True):
        (folder / own).write_text(csv)
        (folder / "path" / "to" / "sst2" / f"{split}.csv").write_text(csv)
        news = "text,label\n" + "".join(f"{text},{label}\n" for text, label in sentences(4))
        (folder / "path" / "to" / "ag_news" / f"{split}.csv").write_text(news)
    for whole in ("all.csv", "texts.csv"):
        (folder / whole).write_text(csv)
    (folder / "my_data").mkdir()
    named = "text,label\n" + "".join(f"{text},{LABEL_NAMES['sst2'][label]}\n" for text, label in sentences(2))
    for split in SPLITS:
        (folder / "my_data" / f"{split}.csv").write_text(named)
    (folder / "my_package").mkdir()
    for name, text in (named for page in PAGES for named in page.files.items()):
        (folder / name).write_text(text)
    (folder / "my_package" / "models.py").write_text("def predict(texts): return [[0.3, 0.7]] * len(texts)\n")
    saved = hf.Dataset.from_dict({"text": [text for text, _ in sentences(2)], "label": [n for _, n in sentences(2)]})
    hf.DatasetDict(dict.fromkeys(("train", "validation", "test"), saved)).save_to_disk(folder / "path" / "to" / "saved")
    write_pairs(folder)
    (folder / "table.json").write_text(json.dumps({"good": ["fine", "great"]}))
    (folder / "pairs.csv").write_text("original,adversarial,label\na good film,a fine film,positive\n")
    log = "original_text,perturbed_text,ground_truth_output\na [[good]] film,a [[fine]] film,1\n"
    (folder / "textfooler.csv").write_text(log)
    rule = "-" * 45
    result = f"{rule} Result 1 {rule}\n1 (99%) --> 0 (60%)\n\na good film\n\na fine film\n"
    (folder / "run.txt").write_text(result)
    (folder / "dev.json").write_text('{"sst2": [{"idx": 0, "label": 1, "sentence": "a fine film"}]}')
    (folder / "mine.yaml").write_text("seed: 3\n")


def write_pairs(folder: Path) -> None:
    rows = [(text, f"is it {text}", NLI[number % 3]) for number, (text, _) in enumerate(sentences(4))]
    (folder / "nli").mkdir()
    csv = "text,text_pair,label\n" + "".join(",".join(row) + "\n" for row in rows)
    for split in SPLITS:
        (folder / "nli" / f"{split}.csv").write_text(csv)
    records = [dict(zip(("premise", "hypothesis", "label"), row, strict=True)) for row in rows]
    (folder / "nli.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def write_models(folder: Path, tokenizer: BertTokenizerFast) -> None:
    vector = np.ones(300, "<f4").tobytes()
    (folder / "vectors.bin").write_bytes(b"2 300\n" + b"good " + vector + b"bad " + vector)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    for encoder in ("bert-base-uncased", "microsoft/deberta-base", "roberta-base"):
        BertModel(config).save_pretrained(folder / encoder)
        tokenizer.save_pretrained(folder / encoder)
    words = Encoder(Vocabulary.build([["a", "good", "film"]]), 20)
    small = ModelConfig(kernels=4)
    torch.manual_seed(0)
    checkpoint = Checkpoint(checkpoints.build(small, len(words.vocabulary), 2), small, words, LABEL_NAMES["sst2"])
    save_bert(folder / "my_classifier", [text for text, _ in sentences(2)], LABEL_NAMES["sst2"])
    save_bert(folder / "my_nli_model", [text for text, _ in sentences(2)], NLI)
    for name in ("FOLDER", "elsewhere/my_model", *named_checkpoints()):
        checkpoints.save(checkpoint, Folder(folder / name))


def named_checkpoints() -> set[str]:
    words = {word for command in COMMANDS for word in command.words}
    return {word for word in words if re.fullmatch(r"runs/stages/train-\S+-\.\.\.", word)}


@pytest.fixture
def run(
    files: Path, assets: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs one of this project's commands, and returns what it prints."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def started(*_: Any, **__: Any) -> None:
        raise StartedError

    def named(name: str) -> list[Rows]:
        rows = [Row(text, label, f"row {text}") for text, label in sentences(len(LABEL_NAMES[name]))]
        return [Rows(split, rows) for split in SPLITS]

    monkeypatch.setattr(ray, "init", started)
    monkeypatch.setattr(hub, "load_named", named)
    monkeypatch.setattr(own_models, "try_out", lambda *_: None)  # the endpoint that a page names does not exist

    def call(verb: str, arguments: Sequence[str], stdin: str = "") -> str:
        given = ["runs" if argument in STORAGES else argument for argument in arguments]
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(stdin.encode())))
        module = module_of(verb)
        if verb == "bench" and "--help" not in given:
            module.parse(given)
        elif verb in ("evaluate", "attack") and not {"--help", "--text"} & set(given):
            with pytest.raises(StartedError):
                module.job([*given, *(["--tracking.no-enabled"] if verb == "evaluate" else [])])
        else:
            module.job([*given, *({"--dry-run"} - set(given) if verb in LONG_RUNNING else ())])
        return capsys.readouterr().out

    return call


def ids(command: Command) -> str:
    return f"{command.page}: {command.line}"


def ours(command: Command) -> bool:
    if command.words[0] == "python":
        return not command.words[1].startswith("examples/")
    return command.words[0] == "flat-dist" or tuple(command.words[:3]) == ("ray", "job", "submit")


@pytest.mark.parametrize("command", [command for command in COMMANDS if ours(command)], ids=ids)
def test_a_command_of_this_project_takes_its_arguments(command: Command, run: Callable[..., str]) -> None:
    words = list(command.words)
    if words[0] == "ray":
        words = words[words.index("--") + 1 :]
    verb, arguments = verb_of(words)
    if "--help" in arguments:
        with pytest.raises(SystemExit) as ended:
            run(verb, arguments)
        assert ended.value.code == 0
        return
    said = run(verb, arguments, command.stdin)
    if verb in LONG_RUNNING:
        assert "1. " in said or "trials" in said or "points" in said
    if command.stdin:
        assert json.loads(said)["label"] in (*LABEL_NAMES["sst2"], *NLI)


def help_examples() -> list[str]:
    """Command lines in what `--help` prints. Two spaces or more separate a line's comment."""
    shown = [EXAMPLES, *(module_of(verb).__doc__ or "" for verb in VERBS)]
    line = re.compile(r"^  ((?:echo .* \| )?flat-dist \S.*?)(?:  .*)?$", re.MULTILINE)
    return [found for text in shown for found in line.findall(text)]


@pytest.mark.parametrize("line", help_examples())
def test_an_example_of_the_help_takes_its_arguments(line: str, run: Callable[..., str]) -> None:
    *echo, command = line.split(" | ")
    assert len(help_examples()) >= 20
    run(*verb_of(shlex.split(command)), stdin=echo[0].removeprefix("echo ") if echo else "")


@pytest.mark.parametrize("path", SCRIPTS)
def test_a_script_is_a_command_of_the_package(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr("flat_dist.commands.main.run", ran.append)
    runpy.run_path(str(ROOT / path), run_name="__main__")
    assert ran == [SCRIPTS[path]]
    assert len(SCRIPTS) == len([*ROOT.glob("jobs/*.py"), *ROOT.glob("tuning/*.py")])


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.words[0] == "ray"], ids=ids)
def test_ray_knows_its_commands(command: Command) -> None:
    words, known = list(command.words[1:]), ray_group()
    while isinstance(known, click.Group):
        known = known.commands[words.pop(0)]
    known.make_context(known.name, list(words))
    if known.name in ("up", "down", "dashboard"):
        assert (ROOT / words[0]).exists()


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.words[0] == "make"], ids=ids)
def test_make_has_the_target(command: Command, run: Callable[..., str]) -> None:
    words = [command.words[0], "-n", *command.words[1:]]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "ARGS"))}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        program, *arguments = shlex.split(line) if line.startswith(".venv/bin/flat-dist ") else [""]
        if program and arguments != ["prepare"]:
            run(*verb_of(["flat-dist", *arguments]))


@pytest.mark.parametrize("command", [command for command in COMMANDS if "pytest" in command.words], ids=ids)
def test_pytest_finds_the_files_and_knows_the_marks(command: Command) -> None:
    arguments = command.words[command.words.index("pytest") + 1 :]
    marks = (ROOT / "pyproject.toml").read_text().split("markers = [")[1]
    for before, argument in itertools.pairwise(("", *arguments)):
        if before == "-m":
            assert all(f'"{mark}:' in marks for mark in set(argument.split()) - {"not", "and", "or"})
        else:
            assert argument == "-m" or (ROOT / argument).exists()


def test_every_command_is_checked_or_listed() -> None:
    others = [
        " ".join(command.words)
        for command in COMMANDS
        if not ours(command) and command.words[0] not in ("ray", "make") and "pytest" not in command.words
    ]
    unlisted = [line for line in others if not any(line.startswith(start) for start in NOT_RUN)]
    assert not unlisted
    assert all(any(line.startswith(start) for line in others) for start in NOT_RUN), "a row that no page needs"
    assert sum(map(ours, COMMANDS)) >= 20


@cache
def known_options() -> frozenset[str]:
    """Options of all commands of this project, and of the commands of Ray that the pages show."""
    kinds: list[type] = []
    for verb in VERBS:
        module = module_of(verb)
        of_verb = getattr(module, "VERBS", None) if verb == "bench" else None
        kinds += of_verb.values() if of_verb else [getattr(module, "Command", None) or module.cli.Command]
    known = {"--help", "--version", "-m"}
    for kind in kinds:
        for name, option in options(kind).items():
            head, dot, last = name.removeprefix("--").rpartition(".")
            known |= {name, f"--{head}{dot}no-{last}"} if option.kind is bool else {name}
    for name in ("start", "job"):
        group = ray_group().commands[name]
        for command in group.commands.values() if isinstance(group, click.Group) else [group]:
            known |= {spelled for parameter in command.params for spelled in parameter.opts}
    return frozenset(known)


FOREIGN_OPTIONS = {"--check", "--env-manager", "--model-uri", "--workers"}
"""Options of other programs: ruff, MLflow."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_in_the_text_exist(page: Page) -> None:
    known = known_options() | FOREIGN_OPTIONS
    for span in page.spans:
        for name in re.findall(r"(?<!\S)--[a-z][\w.\-]*", span):
            is_group = name.endswith(".") and any(one.startswith(name) for one in known)
            assert is_group or name.replace("_", "-") in known, f"{page.name}: {name}"


FIELD = re.compile(r"(data|model|objective|training|attack|evaluation|tracking)\.([a-z_]+)(?: ([a-z_]+))?")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_fields_in_the_text_exist(page: Page) -> None:
    for span in page.spans:
        if (found := FIELD.fullmatch(span)) and not span.endswith((".py", ".md", ".safetensors")):
            section, name, value = found.groups()
            assert hasattr(getattr(Config(), section), name), f"{page.name}: {span}"
            if value:
                cli.parse([f"--{section}.{name}", value], "")


@pytest.mark.parametrize("page", [*PAGES, Page(ROOT / "CHANGELOG.md")], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Page) -> None:
    assert not re.search(r"\]\[|^\[[^\]]+\]: ", page.prose, re.MULTILINE), "a kind of link that is not checked"
    for link in page.links:
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = page.path.parent / file if file else page.path
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in Page(target.resolve()).anchors, f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_are_short_except_in_tables(page: Page) -> None:
    lines = enumerate(page.text.splitlines(), 1)
    assert not [number for number, line in lines if len(line) > 120 and not line.startswith("|")]


@cache
def exists_in_the_package(dotted: str) -> bool:
    """Whether `flat_dist.x.y.Z` is a package, a module, or a name that a module defines. Nothing is imported."""
    path, *names = ROOT, *dotted.split(".")
    while names:
        name = names.pop(0)
        if (path / name).is_dir():
            path /= name
        elif (path / f"{name}.py").is_file():
            return defines(ast.parse((path / f"{name}.py").read_text()), names)
        else:
            return False
    return True


def defines(tree: Any, names: Sequence[str]) -> bool:
    """Whether a module or a class defines a name, and what it names the next, and so on."""
    if not names:
        return True
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
        if names[0] in {getattr(target, "id", getattr(target, "name", None)) for target in targets}:
            return len(names) == 1 or (isinstance(node, ast.ClassDef) and defines(node, names[1:]))
    return False


def test_names_are_found_where_they_are() -> None:
    assert exists_in_the_package("flat_dist.config.schema.AttackConfig.name")
    assert exists_in_the_package("flat_dist.data")
    assert not exists_in_the_package("flat_dist.config.schema.AttackConfig.nothing")
    assert not exists_in_the_package("flat_dist.nowhere")


@pytest.mark.parametrize("page", [page for page in PAGES if "```python" in page.text], ids=lambda page: page.name)
def test_python_in_a_page_calls_functions_that_take_its_arguments(page: Page) -> None:
    blocks = [block for language, block in FENCE.findall(page.text) if language == "python"]
    calls = [node for block in blocks for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)]
    ours = [call for call in calls if re.fullmatch(r"fd\.\w+", ast.unparse(call.func))]
    for call in ours:
        signature = inspect.signature(getattr(api, ast.unparse(call.func).removeprefix("fd.")))
        signature.bind(*call.args, **{str(keyword.arg): None for keyword in call.keywords})
    assert set(re.findall(r"\bfd\.(\w+)", page.text)) <= set(api_names)
    assert ours or page.name != "docs/python.md"


FOLDERS = ("flat_dist", "jobs", "tuning", "examples", "tests", "docs", ".ci")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_modules_in_the_text_exist(page: Page) -> None:
    for span in page.spans:
        for word in span.split():
            if re.fullmatch(r"flat_dist(\.\w+)+", word):
                assert exists_in_the_package(word), f"{page.name}: {word}"
            elif word.startswith(tuple(f"{folder}/" for folder in FOLDERS)) and "<" not in word:
                assert (ROOT / word).exists(), f"{page.name}: {word}"


def test_the_file_tree_of_the_readme_is_complete() -> None:
    text = (ROOT / "README.md").read_text()
    tree = text.split("## Where things are")[1].split("```")[1]
    packages = {path.parent.name for path in ROOT.glob("flat_dist/*/__init__.py")}
    assert packages == set(re.findall(r"(\w+)/", tree.split("flat_dist/\n")[1].split("cli.py")[0])) - {"engine", "pool"}
    for script_name in [*ROOT.glob("jobs/*.py"), *ROOT.glob("tuning/*.py")]:
        assert script_name.name in tree


def test_the_layers_are_those_that_import_linter_checks() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    page = (ROOT / "docs" / "architecture.md").read_text()
    first_cells = re.findall(r"^\| (`flat_dist\.[^|]+) \|", page, re.MULTILINE)
    shown = [set(re.findall(r"flat_dist\.(\w+)", cell)) for cell in first_cells]
    assert shown == [set(layer.split(" | ")) for layer in layers]


def test_the_readme_is_short_and_the_index_names_every_page() -> None:
    text = (ROOT / "README.md").read_text()
    written = text.split(START)[0] + text.split(END)[1]  # without the table of the cards
    assert len(written.splitlines()) <= 150
    assert "](docs/index.md)" in text
    listed = Page(ROOT / "docs" / "index.md").links
    existing = [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/results/*.md")]
    assert sorted({*listed, "index.md"}) == sorted(path.relative_to(ROOT / "docs").as_posix() for path in existing)
    assert len(set(listed)) == len(listed), "a page that is listed twice"
    shown = "".join(page.text for page in PAGES)
    assert all(path.name in shown for path in ROOT.glob("docs/*.png"))


def test_the_changelog_names_modules_that_exist() -> None:
    rows = re.findall(r"^\| (.+) \| (.+) \|$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    rows = [row for row in rows if "flat_dist" in row[1]]
    assert len(rows) >= 10
    for _, now in rows:
        package = ""
        for span in re.findall(r"`([^`]+)`", now):
            dotted = span if span.startswith("flat_dist") else f"{package}{span}"
            package = dotted.rpartition(".")[0] if span.startswith("flat_dist") else package
            assert exists_in_the_package(dotted), span


def test_the_citation_is_complete() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= set(cited)
    assert cited["version"] == __version__
    paper = cited["preferred-citation"]
    assert {"type", "title", "authors", "year", "conference"} <= set(paper)
    assert [author["family-names"] for author in paper["authors"]] == ["Chen", "Ji"]
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert cited["license"] == "Apache-2.0" and 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()


def test_the_hooks_run_what_make_lint_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    assert [hook["entry"] for hook in hooks[0]["hooks"]] == commands


def test_ci_runs_the_test_command_of_the_readme_and_builds_the_documentation() -> None:
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-2:] == ["make test", "make docs"]
    assert "make test" in [" ".join(command.words) for command in COMMANDS if command.page == "README.md"]
