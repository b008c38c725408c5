"""The locks: what they pin, by which hashes, and that nothing else is in them."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WANTED = {
    "": PROJECT["project"]["dependencies"],
    "-dev": PROJECT["project"]["optional-dependencies"]["dev"],
    "-tools": PROJECT["dependency-groups"]["tools"],
    "-docs": PROJECT["dependency-groups"]["docs"],
}
TEST_TOOLS = {"pytest", "pytest-xdist", "hypothesis", "moto", "selenium", "ruff", "mypy", "import-linter"}
INSTALLED = {canonicalize_name(one.metadata["Name"]): one.version.partition("+")[0] for one in metadata.distributions()}


def requirements(kind: str) -> list[str]:
    """The requirements of a lock, each on one line with its hashes."""
    text = (ROOT / f"requirements{kind}.lock").read_text(encoding="utf-8").replace("\\\n", "")
    return [line for line in text.splitlines() if not line.startswith("#")]


def pins(kind: str) -> dict[str, str]:
    """Versions by canonical name."""
    found = [re.match(r"(\S+)==(\S+)", line) for line in requirements(kind)]
    return {one[1]: one[2] for one in found if one}


@pytest.mark.parametrize("kind", ["", "-cuda", "-dev", "-tools", "-docs", "-cpu"])
def test_each_line_is_a_name_a_version_and_hashes_and_nothing_else(kind: str) -> None:
    lines = requirements(kind)
    for line in lines:  # an address or an option, such as --index-url, does not fit
        assert re.fullmatch(r"[a-z0-9-]+==[\w.!+]+( ; [^:/#-]+)?( +--hash=sha256:[0-9a-f]{64})+", line), line[:200]
    assert len(pins(kind)) == len(lines) > 0


@pytest.mark.parametrize("kind", WANTED)
def test_what_pyproject_asks_for_is_pinned_within_its_bounds(kind: str) -> None:
    locked = pins(kind)
    for wanted in map(Requirement, WANTED[kind]):
        assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), wanted


def test_no_test_tool_is_installed_to_run() -> None:
    tools = TEST_TOOLS | {canonicalize_name(Requirement(line).name) for line in WANTED["-dev"]}
    assert tools <= pins("-dev").keys()
    assert not tools & (pins("") | pins("-cuda") | pins("-tools")).keys()


def test_no_package_is_in_two_locks_at_two_versions() -> None:
    locked = [
        (name, version) for kind in ("", "-cuda", "-dev", "-tools", "-docs") for name, version in pins(kind).items()
    ]
    assert len(dict(locked)) == len(set(locked))


def test_torch_for_cpus_is_the_release_that_is_locked() -> None:
    assert pins("-cpu") == {"torch": pins("")["torch"] + "+cpu"}
    assert not set(re.findall(r"sha256:\w+", requirements("-cpu")[0])) & set(re.findall(r"sha256:\w+", torch_line()))


def torch_line() -> str:
    return next(line for line in requirements("") if line.startswith("torch=="))


def test_what_only_cuda_needs_is_not_asked_of_a_machine_without() -> None:
    assert {"triton", "cuda-toolkit", "nvidia-cublas"} <= pins("-cuda").keys()
    assert not [name for name in pins("") if name.startswith(("nvidia", "cuda", "triton"))]


def test_what_is_installed_here_is_what_is_locked() -> None:
    locked = pins("") | pins("-dev")
    for name in ("ray", "torch", "textattack", "transformers", "pyarrow", "mlflow", "moto"):
        assert locked[name] == INSTALLED[name]
