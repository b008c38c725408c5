import json
import os
import subprocess
import sys
from pathlib import Path

from flat_dist.resources.assets import Assets

SCRIPT = """
import json, os, socket, sys
from pathlib import Path

def refuse(*arguments, **options):
    raise AssertionError("used the network")

socket.socket.connect = socket.getaddrinfo = refuse
import numpy as np
from flat_dist.resources.assets import Assets
from flat_dist.resources.textattack_setup import activate

assets = Assets(Path(sys.argv[1]))
before = dict(os.environ)
activate(assets)
activate(assets)
moved = [name for name, value in os.environ.items() if sys.argv[1] in value and before.get(name) != value]

import nltk
from textattack.attack_recipes import PWWSRen2019
from textattack.constraints.grammaticality import PartOfSpeech
from textattack.models.wrappers import ModelWrapper

class LikesFilms(ModelWrapper):
    model = None

    def __call__(self, texts):
        positive = np.array([0.9 if "film" in text else 0.2 for text in texts])
        return np.stack([1 - positive, positive], axis=1)

attack = PWWSRen2019.build(LikesFilms())
result = attack.attack("this is a wonderful film", 1)
print(json.dumps({
    "moved": moved,
    "home": [str(path) for path in Path.home().rglob("*")],
    "download": nltk.download("punkt"),
    "text": result.perturbed_text(),
    "synonyms": attack.transformation._get_replacement_words("film"),
    "noun": PartOfSpeech()._get_pos(["a", "wonderful"], "film", []),
}))
"""


def run(script: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    unset = ("TA_CACHE_DIR", "NLTK_DATA", "XDG_CACHE_HOME", "HF_HOME", "MPLCONFIGDIR")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, env={**environment, "HOME": str(home)}, capture_output=True, text=True)


def test_stock_textattack_works_offline_and_writes_nothing_to_the_home_folder(assets: Assets, tmp_path: Path) -> None:
    result = run(SCRIPT, tmp_path, str(assets.folder))
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 1
    answer = json.loads(result.stdout)
    assert answer["moved"] == answer["home"] == []
    assert answer["download"] is False
    # WordNet 3.0 has these lemmas of one word in the synsets of "film".
    assert set(answer["synonyms"]) == {
        "movie", "picture", "pic", "flick", "cinema", "celluloid", "plastic_film", "shoot", "take"
    } - {"plastic_film"}  # fmt: skip
    first, substitute = answer["text"].rsplit(" ", 1)
    assert first == "this is a wonderful" and substitute in answer["synonyms"]
    assert answer["noun"] == "NOUN"


def test_activation_after_the_import_is_refused(assets: Assets, tmp_path: Path) -> None:
    script = """
import sys, types
from pathlib import Path
from flat_dist.resources.assets import Assets
from flat_dist.resources.textattack_setup import activate
sys.modules["textattack"] = types.ModuleType("textattack")
activate(Assets(Path(sys.argv[1])))
"""
    result = run(script, tmp_path, str(assets.folder))
    assert "RuntimeError: textattack was imported before activate()" in result.stderr
