"""NLTK and TextAttack on this package's assets, without the network and without files in the user's home.

By itself, `import textattack` downloads NLTK data, notes in the home folder that it has, and, where TA_CACHE_DIR names
another folder, moves the caches of other libraries there. `activate` imports it so that none of this happens.
"""

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

import nltk

from flat_dist.resources.assets import Assets

POST_INSTALL_MARK = "post_install_check_3"
"""The file in its cache folder by which TextAttack 0.3.11 knows that it has downloaded everything."""
REDIRECTED = ("TFHUB_CACHE_DIR", "PYTORCH_TRANSFORMERS_CACHE", "HF_HOME", "XDG_CACHE_HOME")
"""Environment variables that TextAttack sets to TA_CACHE_DIR."""


def activate(assets: Assets) -> None:
    """Import TextAttack and give NLTK's data to it; later calls in the same process do nothing.

    From then on `nltk.download` does nothing and returns False, as it does where there is no network. English WordNet
    needs no `omw-1.4`, the only data that TextAttack's attacks ask for later.

    Raises:
        RuntimeError: TextAttack was imported before, with data from elsewhere.
    """
    folder = str(assets.nltk_data)
    if nltk.data.path[:1] == [folder] and "textattack" in sys.modules:
        return
    if "textattack" in sys.modules:
        raise RuntimeError("textattack was imported before activate(), so it may use other data: call activate() first")
    nltk.data.path.insert(0, folder)
    nltk.download = nltk.downloader.download = _no_download
    _import_textattack(assets)


def _no_download(*arguments: Any, **options: Any) -> bool:
    return False


def _import_textattack(assets: Assets) -> None:
    cache = assets.folder / "textattack"
    cache.mkdir(exist_ok=True)
    (cache / POST_INSTALL_MARK).touch()
    for library in ("huggingface_hub", "transformers", "datasets"):
        importlib.import_module(library)  # they read their cache folder once, now, before TextAttack moves it
    matplotlib = os.environ.get("MPLCONFIGDIR", str(assets.folder / "matplotlib"))  # else it makes a folder in the home
    with _environment(TA_CACHE_DIR=str(cache), MPLCONFIGDIR=matplotlib):
        importlib.import_module("textattack")
    logging.getLogger("textattack.shared.utils.install").setLevel(logging.ERROR)
    for name in ("flair", "jieba"):
        logging.getLogger(name).setLevel(logging.WARNING)


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    names = (*variables, *REDIRECTED)
    before = {name: os.environ[name] for name in names if name in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)
