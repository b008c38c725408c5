"""Imports TextAttack with this package's NLTK data, without network and without files in the user's home.

A plain `import textattack` downloads NLTK data, writes a mark into the home folder, and moves the caches of other
libraries to TA_CACHE_DIR if that is set. `activate` prevents all of this.
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
"""The file that tells TextAttack 0.3.11 that its downloads are complete."""
REDIRECTED = ("TFHUB_CACHE_DIR", "PYTORCH_TRANSFORMERS_CACHE", "HF_HOME", "XDG_CACHE_HOME")
"""Environment variables that TextAttack sets to TA_CACHE_DIR."""


def activate(assets: Assets) -> None:
    """Import TextAttack with our NLTK data; later calls in the same process do nothing.

    Afterwards `nltk.download` does nothing and returns False, as without network. The attacks later request only
    `omw-1.4`, which English WordNet does not need.

    Raises:
        RuntimeError: TextAttack is already imported, with other data.
    """
    folder = str(assets.nltk_data)
    if nltk.data.path[:1] == [folder] and "textattack" in sys.modules:
        return
    if "textattack" in sys.modules:
        raise RuntimeError("textattack was imported before activate() and may use other data: call activate() first")
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
        importlib.import_module(library)  # they read their cache folder now, before TextAttack moves it
    matplotlib = os.environ.get("MPLCONFIGDIR", str(assets.folder / "matplotlib"))  # default: a folder in the home
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
