import os

import pytest

from flat_dist.assets import Assets, prepare

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def assets() -> Assets:
    return prepare()
