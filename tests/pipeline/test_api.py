"""The Python API on a Ray of its own: the example, and that its numbers are those of the command line."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import flat_dist as fd
from flat_dist.data.datasets import Dataset
from flat_dist.storage.folder import Folder

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


def write_csv(sentences: Dataset, folder: Path) -> list[str]:
    """Built-in sentences as files of a user."""
    paths = []
    for split, count in (("train", 200), ("dev", 40), ("test", 40)):
        table = getattr(sentences, split).slice(0, count)
        frame = table.to_pandas()[["text", "label"]]
        frame["label"] = [sentences.label_names[label] for label in frame["label"]]
        paths.append(str(folder / f"{split}.csv"))
        frame.to_csv(paths[-1], index=False)
    return paths


def test_the_example_of_own_files(private_token: None, sentences: Dataset, tmp_path: Path) -> None:
    options = ["--epochs", "2", "--sample", "8", "--storage", str(tmp_path / "runs")]
    command = [sys.executable, str(ROOT / "examples" / "own_csv.py"), *write_csv(sentences, tmp_path), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    out = done.stdout
    assert "classes: negative, positive; 200 training texts" in out
    assert "flat after PWWS: " in out and "of 8 texts" in out
    assert out.count("after_attack_accuracy is ") == 3  # a check of each model
    (folder,) = (tmp_path / "runs").glob("custom-cnn-*/results.json")
    written = json.loads(folder.read_text())
    assert {row["training"] for row in written} == {"base", "adv", "flat"}
    for row in written:  # the printed table has the numbers of the file
        number = f"{row['after_attack_accuracy']:.3f}"
        assert re.search(rf" {row['training']} +{row['attack']} +{row['accuracy']:.3f}\d* +{number}", out), out


def test_evaluate_has_the_numbers_of_the_command_line(
    private_token: None, victim: Folder, sentences: Dataset, tmp_path: Path
) -> None:
    data = fd.load_dataset("rotten_tomatoes_sample")
    measured = fd.evaluate(
        {"mine": victim.uri},
        data,
        attacks=("textfooler",),
        sample=6,
        explain=("ig",),
        settings={"tracking.enabled": False, "hardware": "cpu"},
        storage=tmp_path,
        name="api",
        progress=False,
    )
    options = f"--attacks textfooler --sample 6 --explain ig --data.name rotten_tomatoes_sample --storage {tmp_path}"
    command = ["evaluate", "--checkpoint", f"mine={victim.uri}", *options.split(), "--run-name", "line", "--json"]
    command += ["--tracking.no-enabled", "--hardware", "cpu"]
    done = subprocess.run([sys.executable, "-m", "flat_dist", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout.splitlines()[-1])["results"]
    (found,) = measured.results.to_dict("records")
    assert found["model"] == row["training"] == "mine"
    for name in ("accuracy", "after_attack_accuracy", "mean_queries", "words_changed", "n"):
        assert found[name] == row[name]
    assert found["kendall_tau_ig"] == row["interpretations"]["ig"]["common"]["kendall_tau"]
    assert "already" in done.stderr or len(list(tmp_path.glob("stages/attack-*"))) == 2  # the command repeats no attack
    (check,) = measured.check(f"textfooler:after_attack_accuracy={found['after_attack_accuracy']}")
    assert check.passed and measured.failures == ()
    attacked = fd.attack(
        victim.uri, data, sample=6, settings={"hardware": "cpu", "seed": 1111}, storage=tmp_path, progress=False
    )
    assert attacked.texts.num_rows == attacked.summary.n == 6
    assert {"original_text", "perturbed_text", "status", "swaps"} <= set(attacked.texts.column_names)
