"""What our source must not call: anything that runs what it reads, or lets in whom it should not."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for folder in ("flat_dist", "jobs") for path in (ROOT / folder).rglob("*.py"))

NEVER = {
    "eval", "exec", "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "joblib.load", "dill.loads",
    "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "shutil.unpack_archive", "tempfile.mktemp",
}  # fmt: skip
NEVER_METHODS = {"extractall", "extract"}
"""Of archives: they write where the archive says."""
REQUIRED = {"torch.load": ("weights_only", True)}
FORBIDDEN = {"shell": True, "verify": False, "allow_pickle": True, "trust_remote_code": True}


def complaints(source: str) -> list[str]:
    """What is wrong with a module, by line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and node.value == "0.0.0.0":
            found.append(f"{node.lineno}: every network")
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if name in NEVER or (isinstance(node.func, ast.Attribute) and node.func.attr in NEVER_METHODS):
            found.append(f"{node.lineno}: {name}")
        if name in REQUIRED and keywords.get(REQUIRED[name][0]) != str(REQUIRED[name][1]):
            found.append(f"{node.lineno}: {name} without {REQUIRED[name][0]}")
        found += [f"{node.lineno}: {key}" for key, value in FORBIDDEN.items() if keywords.get(key) == str(value)]
    return found


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
    ],
)
def test_the_check_finds_what_it_looks_for(line: str) -> None:
    assert complaints(line)
    assert not complaints("torch.load(path, weights_only=True); yaml.safe_load(text); zipfile.ZipFile(path).read(name)")
