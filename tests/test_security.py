"""What our source must not call: anything that runs what it reads, or lets in whom it should not."""

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from flat_dist.config.errors import UserError
from flat_dist.resources import synonym_file, synonyms, textattack_setup
from flat_dist.resources.assets import Assets

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for folder in ("flat_dist", "jobs") for path in (ROOT / folder).rglob("*.py"))

NEVER = {
    "eval", "exec", "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "joblib.load", "dill.loads",
    "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "shutil.unpack_archive", "tempfile.mktemp",
}  # fmt: skip
NEVER_METHODS = {"extractall", "extract"}
"""Of archives: they write where the archive says."""
REQUIRED = {"torch.load": ("weights_only", True)}
LOADERS = {"from_pretrained", "from_config"}
"""Of transformers: they ask on standard input whether to run a folder's code, unless they are told not to."""
OTHER_OWNERS = {"ScriptDirectory"}
"""Whose `from_config` is not transformers': Alembic's."""
FORBIDDEN = {"shell": True, "verify": False, "allow_pickle": True, "trust_remote_code": True}


def imported(tree: ast.Module) -> dict[str, str]:
    """Full names of what a module imports, by the names that it goes by there."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {one.asname: one.name for one in node.names if one.asname}
        if isinstance(node, ast.ImportFrom):
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return names


def full_name(function: ast.expr, names: dict[str, str]) -> str:
    first, dot, rest = ast.unparse(function).partition(".")
    return names.get(first, first) + dot + rest


def loaders(tree: ast.Module) -> Iterator[str]:
    """Calls that load a model without refusing its code, and loaders that are neither called nor given a name.

    Where one gets a name, as in `load = AutoModel.from_pretrained`, calls by that name are looked at.
    """
    named = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in LOADERS and ast.unparse(node.value) not in OTHER_OWNERS
    ]
    aliases = {
        node.value: target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and node.value in named
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {call.func for call in calls}
    yield from (f"{node.lineno}: {node.attr} is handed on" for node in named if node not in called | aliases.keys())
    for call in calls:
        by_alias = isinstance(call.func, ast.Name) and call.func.id in aliases.values()
        refuses = any(one.arg == "trust_remote_code" and ast.unparse(one.value) == "False" for one in call.keywords)
        if (call.func in named or by_alias) and not refuses:
            yield f"{call.lineno}: {ast.unparse(call.func)} without trust_remote_code=False"


def complaints(source: str) -> list[str]:
    """What is wrong with a module, by line."""
    found = []
    tree = ast.parse(source)
    names = imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value == "0.0.0.0":
            found.append(f"{node.lineno}: every network")
        if not isinstance(node, ast.Call):
            continue
        name = full_name(node.func, names)
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if name in NEVER or (isinstance(node.func, ast.Attribute) and node.func.attr in NEVER_METHODS):
            found.append(f"{node.lineno}: {name}")
        if name in REQUIRED and keywords.get(REQUIRED[name][0]) != str(REQUIRED[name][1]):
            found.append(f"{node.lineno}: {name} without {REQUIRED[name][0]}")
        found += [f"{node.lineno}: {key}" for key, value in FORBIDDEN.items() if keywords.get(key) == str(value)]
    return found + list(loaders(tree))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_source_calls_nothing_dangerous(path: Path) -> None:
    assert complaints(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "pickle.loads(data)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "tarfile.open(path).extractall(folder)",
        "yaml.load(text, yaml.Loader)",
        "subprocess.run(command, shell=True)",
        "np.load(path, allow_pickle=True)",
        "server.bind(('0.0.0.0', 80))",
        "eval(text)",
        "from pickle import loads; loads(data)",
        "import torch as t; t.load(path)",
        "from yaml import load as read; read(text, Loader)",
        "AutoModel.from_pretrained(folder)",
        "AutoModel.from_config(settings, trust_remote_code=True)",
        "AutoModel.from_config(settings, trust_remote_code=trust)",
        "load = AutoModel.from_pretrained; load(folder)",
        "run(AutoModel.from_pretrained, folder)",
        "datasets.load_dataset(path, trust_remote_code=True)",
    ],
)
def test_the_check_finds_what_it_looks_for(line: str) -> None:
    assert complaints(line)
    assert not complaints("torch.load(path, weights_only=True); yaml.safe_load(text); zipfile.ZipFile(path).read(name)")
    assert not complaints("load = AutoModel.from_pretrained; load(folder, trust_remote_code=False, revision=None)")


class Dangerous:
    def __reduce__(self) -> tuple:
        return (exec, ("raise SystemExit('it was run')",))


@pytest.fixture
def downloaded(assets: Assets, tmp_path: Path) -> Path:
    """What TextAttack downloads as its counter-fitted vectors, of three words."""
    textattack_setup.activate(assets)
    np.save(tmp_path / "paragram.npy", np.eye(3, dtype=np.float32))
    np.save(tmp_path / "nn.npy", np.array([[0, 1, 2], [1, 0, 2], [2, 1, 0]]))
    (tmp_path / "wordlist.pickle").write_bytes(pickle.dumps({"good": 0, "fine": 1, "bad": 2}))
    for name in ("mse_dist.p", "cos_sim.p"):
        (tmp_path / name).write_bytes(pickle.dumps(Dangerous()))
    return tmp_path


def test_textattacks_vectors_are_read_without_running_code(downloaded: Path) -> None:
    vectors = synonyms.read_original(downloaded)
    assert synonyms._neighbours_in(vectors, 1) == {"good": ["fine"], "fine": ["good"], "bad": ["fine"]}
    assert vectors.get_cos_sim("good", "good") == pytest.approx(1)
    assert vectors.get_mse_dist("good", "bad") == pytest.approx(2)


def test_a_word_list_that_would_run_code_is_refused(downloaded: Path) -> None:
    (downloaded / "wordlist.pickle").write_bytes(pickle.dumps(Dangerous()))
    with pytest.raises(pickle.UnpicklingError, match="exec"):
        synonyms.read_original(downloaded)
    with pytest.raises(UserError, match=r"does not have TextAttack's vectors \(a pickle of plain values names .*exec"):
        synonym_file.check(str(downloaded))
