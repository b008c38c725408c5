"""cluster.yaml, for a cloud and for machines of one's own, against Ray's schema and what Ray does not look at."""

import re
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.docker import validate_docker_config
from ray.autoscaler._private.util import prepare_config, validate_config

from flat_dist import __version__

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "cluster.yaml").read_text(encoding="utf-8")


def own_machines() -> str:
    """What the comments say to do for machines of one's own."""
    without_cloud = re.sub(r"# >>> cloud.*?# <<< cloud\n", "", TEXT, flags=re.DOTALL)
    return re.sub(r"^#~ ", "", without_cloud, flags=re.MULTILINE)


def containers() -> str:
    """What the comments say to do for containers."""
    without_setup = re.sub(r"# >>> machines.*?# <<< machines\n", "", TEXT, flags=re.DOTALL)
    return re.sub(r"^#\+ ", "", without_setup, flags=re.MULTILINE)


@pytest.fixture(params=["cloud", "own"])
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    return yaml.safe_load(TEXT if request.param == "cloud" else own_machines())


def test_it_fits_rays_schema(config: dict[str, Any]) -> None:
    prepared = prepare_config(config)
    validate_config(prepared)
    assert prepared["available_node_types"][prepared["head_node_type"]]


def test_with_containers_it_needs_only_the_image_of_the_dockerfile() -> None:
    config = yaml.safe_load(containers())
    prepared = prepare_config(config)
    validate_config(prepared)
    validate_docker_config(prepared)
    assert "setup_commands" not in config
    assert set(config["file_mounts"]) == {"~/.ray/auth_token"}
    image = config["docker"]["image"].removeprefix("REGISTRY/")
    assert image == f"flat-dist:{__version__}"
    assert f"docker build --tag REGISTRY/{image} .\n" in TEXT and f"docker push REGISTRY/{image}\n" in TEXT
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"docker build --tag {image} .\n" in dockerfile
    starts = [line for name in ("head", "worker") for line in config[f"{name}_start_ray_commands"] if "start" in line]
    assert all("~/venv/bin/ray start" in line for line in starts) and "RUN python -m venv ~/venv\n" in dockerfile


def test_a_wrong_key_does_not_fit_it() -> None:
    with pytest.raises(Exception, match="workers_max"):
        validate_config(prepare_config(yaml.safe_load(TEXT) | {"workers_max": 3}))


def test_what_ray_does_not_look_at() -> None:
    config = yaml.safe_load(TEXT)
    assert config["cluster_name"]
    assert config["provider"]["region"]
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"] == {"CPU": 0}
    workers = {name: kind for name, kind in types.items() if name != config["head_node_type"]}
    for kind in workers.values():
        assert 0 <= kind["min_workers"] <= kind["max_workers"]
    assert sum(kind["max_workers"] for kind in workers.values()) <= config["max_workers"]
    assert workers["cpu_worker"]["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert workers["gpu_worker"]["resources"]["GPU"] >= 1
    assert len(yaml.safe_load(own_machines())["provider"]["worker_ips"]) == 2


def test_only_those_with_a_token_get_in(config: dict[str, Any]) -> None:
    starts = [
        line
        for name in ("head_start_ray_commands", "worker_start_ray_commands")
        for line in config[name]
        if "ray start" in line
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in line for line in starts)
    assert any(path.endswith(".ray/auth_token") for path in config["file_mounts"])
    head = next(line for line in starts if "--head" in line)
    assert "--dashboard-host=127.0.0.1" in head
    assert "--num-cpus=0" in head


def test_on_aws_ray_lets_in_nobody_whom_the_groups_of_the_file_do_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".ssh").mkdir()  # for the key that Ray makes
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("HOME", str(tmp_path))
    config = prepare_config(yaml.safe_load(TEXT))
    types = config["available_node_types"]
    types["head"]["node_config"]["IamInstanceProfile"] = {
        "Name": "flat-dist-head"
    }  # or Ray makes one, in half a minute
    with mock_aws():
        ec2 = boto3.client("ec2", region_name=config["provider"]["region"])
        network = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(GroupName="flat-dist", Description="closed", VpcId=network)["GroupId"]
        for kind in types.values():
            assert len(kind["node_config"]["SecurityGroupIds"]) == 1
            kind["node_config"]["SecurityGroupIds"] = [group]
        started = bootstrap_aws(config)["available_node_types"]
        assert all(kind["node_config"]["SecurityGroupIds"] == [group] for kind in started.values())
        assert not any(known["IpPermissions"] for known in ec2.describe_security_groups()["SecurityGroups"])


def test_what_is_copied_is_there(config: dict[str, Any]) -> None:
    copied = {remote: local for remote, local in config["file_mounts"].items() if not local.startswith("~")}
    assert all((ROOT / local).exists() for local in copied.values())
    assert set(copied.values()) >= {"flat_dist", "jobs", "pyproject.toml", "requirements.lock"}
    assert all(remote == f"~/flat_dist/{local}" for remote, local in copied.items())


def test_everything_is_installed_by_its_hash_and_no_test_tool_is(config: dict[str, Any]) -> None:
    installs = [line.split("pip install", 1)[1].split() for line in config["setup_commands"] if "pip install" in line]
    *by_hash, project = installs
    assert {"--no-deps", "--no-build-isolation", "--editable"} <= set(project)
    assert project[-1] == "~/flat_dist"
    for words in by_hash:
        assert "--require-hashes" in words
        assert all(word.startswith(("--", "~")) for word in words), "a package that no lock pins"
    locks = [word for words in by_hash for word in words if word.endswith(".lock")]
    assert set(locks) == {f"~/flat_dist/requirements{kind}.lock" for kind in ("-tools", "", "-cuda")}
    assert set(locks) <= set(config["file_mounts"])
    assert any("--no-build-isolation" in words for words in by_hash if "~/flat_dist/requirements.lock" in words)
    assert any(re.search(r"--python 3\.11\.\d+", line) for line in config["setup_commands"])
    assert any("jobs/prepare.py" in line for line in config["setup_commands"])
