"""Which attacks `all` stands for."""

from pathlib import Path

import pytest

from flat_dist.attack.available import expand
from flat_dist.config.attacks import ATTACKS
from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, EvaluationConfig
from flat_dist.config.validation import validate
from flat_dist.resources.catalogue import RESOURCES, Sources


def test_all_are_the_attacks_whose_resources_are_at_hand() -> None:
    found, left_out = expand(["all"], Sources())
    assert {"textfooler", "pwws", "deepwordbug"} <= set(found)
    assert set(found) | set(left_out) == set(ATTACKS) and not set(found) & set(left_out)
    assert not any(name.endswith(("-importance", "-gradient")) for name in found)
    for name, reason in left_out.items():
        missing = [one for one in ATTACKS[name].resources if not RESOURCES[one].stand_in]
        assert ATTACKS[name].refused or missing, name
        assert reason
    assert "input-reduction" in left_out


def test_an_attack_is_named_once() -> None:
    found, _ = expand(["pwws-gradient", "pwws", "all", "pwws"], Sources())
    assert found[:3] == ("pwws-gradient", "pwws", "textfooler")
    assert len(set(found)) == len(found)
    assert expand(["pwws"], Sources()) == (("pwws",), {})


def test_resources_of_the_user_make_attacks_available(tmp_path: Path) -> None:
    lacking = next(
        name for name, entry in ATTACKS.items() if [one for one in entry.resources if not RESOURCES[one].stand_in]
    )
    given = tuple((one, str(tmp_path)) for one in ATTACKS[lacking].resources if not RESOURCES[one].stand_in)
    assert lacking in expand(["all"], Sources())[1]
    assert lacking in expand(["all"], Sources(given=given))[0]


def test_only_one_command_takes_all() -> None:
    with pytest.raises(UserError, match=r"--evaluation\.attacks all is only for flat-dist evaluate"):
        validate(Config(evaluation=EvaluationConfig(attacks=("all",))))
