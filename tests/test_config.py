import dataclasses
import typing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from flat_dist import cli
from flat_dist.config import attacks
from flat_dist.config.choices import choices
from flat_dist.config.errors import UserError
from flat_dist.config.schema import (
    BY_CONTENT,
    NOT_IN_RESULT,
    PLAN,
    UNLESS_DEFAULT,
    AttackConfig,
    Config,
    DataConfig,
    ModelConfig,
    TrainingConfig,
)
from flat_dist.config.serialization import (
    content_hash,
    from_dict,
    from_yaml,
    presets,
    result_values,
    stage_values,
    to_dict,
)
from flat_dist.config.validation import ATTACK_NAMES, BELOW_ONE, DISTINCT, FILLED, LOWEST, MOST, POSITIVE, validate
from flat_dist.data.datasets import Dataset
from flat_dist.pipeline import run_folder
from flat_dist.pipeline.plan import check, hints
from flat_dist.storage.folder import Folder


def parse(*arguments: str) -> Config:
    return cli.parse(arguments, "test").config


def test_a_config_is_unchanged_by_writing_and_reading() -> None:
    config = parse("--objective.beta", "0.5", "--training.kinds", "base", "flat", "--model.kernel-widths", "2", "3")
    assert config.training.kinds == ("base", "flat")
    assert from_dict(Config, to_dict(config), "test") == config
    assert from_yaml(yaml.safe_dump(to_dict(config)), "test") == config


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        ("training: {learning_rate: 1e-5}", "training.learning_rate", 1e-5),
        ("training: {learning_rate: 1}", "training.learning_rate", 1.0),
        ("training: {round_clip: null}", "training.round_clip", None),
        ("data: {label_names: [no, yes]}", "data.label_names", ("no", "yes")),
        ("data: {label_names: [1, 2, 3]}", "data.label_names", ("1", "2", "3")),
        ("run_name: 007", "run_name", "007"),
        ("run_name: 2024-01-01", "run_name", "2024-01-01"),
        ("run_name: 12:30", "run_name", "12:30"),
        ("tracking: {enabled: no}", "tracking.enabled", False),
        ("tracking: {enabled: on}", "tracking.enabled", True),
        ("data: {<<: {name: sst2}, max_length: 9}", "data.name", "sst2"),
    ],
)
def test_scalars_are_read_as_in_yaml_1_2(text: str, field: str, expected: object) -> None:
    value = from_yaml(text, "x.yaml")
    for part in field.split("."):
        value = getattr(value, part)
    assert value == expected and type(value) is type(expected)


def test_the_hash_depends_only_on_the_content() -> None:
    values = to_dict(Config())
    assert content_hash(values) == content_hash(dict(reversed(values.items())))
    assert content_hash(values) != content_hash(to_dict(replace(Config(), seed=1)))


@pytest.mark.parametrize("name", presets())
def test_presets_are_valid_and_have_the_lengths_of_table_6(name: str) -> None:
    config = cli.load_preset(name)
    validate(config)
    lengths = {"sst2": (50, 0), "imdb": (250, 5), "ag_news": (50, 5), "trec": (15, 0)}
    if name in lengths:
        assert (config.data.max_length, config.data.min_frequency) == lengths[name]
        assert config.data.name == name


def test_all_fields_in_the_tables_of_validation_exist() -> None:
    for name in (*LOWEST, *MOST, *POSITIVE, *BELOW_ONE, *FILLED, *DISTINCT):
        value = Config()
        for part in name.split("."):
            value = getattr(value, part)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--objective.beta", "-1"], "--objective.beta is -1.0, but must be at least 0"),
        (["--objective.gamma", "nan"], "--objective.gamma is nan"),
        (["--training.learning-rate", "0"], "--training.learning-rate is 0.0, but must be above 0"),
        (
            ["--model.name", "cnm"],
            "cnm': choose one of bert, classifier, cnn, deberta, encoder, lstm, minilm; did you mean 'cnn'?",
        ),
        (["--attack.name", "textfolder"], "did you mean 'textfooler'"),
        (["--evaluation.attacks", "pwws", "bay"], "unknown value of --evaluation.attacks 'bay'"),
        (["--training.kinds", "flatt"], "did you mean 'flat'"),
        (["--preset", "rotten"], "unknown preset 'rotten': choose one of"),
        (["--preset", "nowhere.yaml"], "preset file nowhere.yaml does not exist"),
        (["--model.dropout", "1"], "--model.dropout is 1.0, but must be at least 0 and below 1"),
        (["--attack.gpus-per-worker", "1.5"], "must be at least 0 and below 1"),
    ],
)
def test_an_invalid_value_is_one_line_that_names_it(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        parse(*arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {round: 3}", "unknown field in x.yaml 'training.round'"),
        ("training: {rounds: many}", "training.rounds must be int, not 'many'"),
        ("training: {rounds: true}", "training.rounds must be int, not True"),
        ("training: {kinds: flat}", "training.kinds must be a list"),
        ("training: 3", "training must contain fields"),
        ("a: [", "is not valid YAML"),
        ("seed: 1\nseed: 2", "the key 'seed' occurs twice"),
        ("training:\n\trounds: 1", "is not valid YAML"),
        ("training: {rounds: 1.0}", "training.rounds must be int, not 1.0"),
        ("training: {rounds: 1e3}", "training.rounds must be int, not 1000.0"),
        ("tracking: {enabled: maybe}", "tracking.enabled must be bool, not 'maybe'"),
        ("run_name: true", "run_name must be str or nothing, not True: write it in quotes, as in 'True'"),
        ("training: {learning_rate: 1" + "0" * 400 + "}", "is too large for one"),
        ("seed: " + "9" * 5000, "is not valid YAML"),
        ("model: {name: cnm}", "unknown value of model.name in x.yaml 'cnm': choose one of bert, classifier, cnn, "),
        (
            "training: {kinds: [flatt]}",
            "unknown value of training.kinds in x.yaml 'flatt': choose one of adv, base, continued, flat",
        ),
        ("training: {device: 1}", "x.yaml: training.device must be one of auto, cpu, cuda, not 1"),
        ("[" * 5000, "is not valid YAML"),
        ("a: !!python/object:os.system x", "is not valid YAML"),
        ("&a [*a]", "the file must contain fields"),
        ("- &a [x, x, x, x, x, x]\n- &b [*a, *a, *a, *a, *a]\n- [*b, *b, *b, *b]", "the file must contain fields"),
        ("- 1", "the file must contain fields"),
    ],
)
def test_an_invalid_preset_is_one_line_that_names_the_field(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        from_yaml(text, "x.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_option_replaces_a_field_of_the_preset() -> None:
    assert parse("--preset", "trec").data.max_length == 15
    assert parse("--preset=trec", "--data.max-length", "20").data.max_length == 20


def test_a_run_folder_accepts_one_config(tmp_path) -> None:
    config = Config(storage=str(tmp_path), run_name="mine")
    folder = Folder(tmp_path) / "mine"
    for workers in (0, 1):  # changes no result
        same = replace(config, attack=replace(config.attack, workers=workers))
        run_folder.open_folder(folder, result_values(same))
    other = replace(config, objective=replace(config.objective, beta=0.2))
    with pytest.raises(UserError, match=r"another config \(objective.beta was 0.1, now 0.2\)"):
        run_folder.open_folder(folder, result_values(other))
    names = {
        run_folder.run_name(replace(one, run_name=None), run_folder.identity(one, data))
        for one in (config, other)
        for data in ("these", "those")
    }
    assert len(names) == 4


def test_the_identity_of_a_run_depends_on_its_data_not_on_their_place(tmp_path: Path) -> None:
    config = Config(storage=str(tmp_path), run_name="mine", data=DataConfig(folder="here"))
    moved = replace(config, data=DataConfig(train="a.csv", dev="b.csv", test="c.csv", text_column="words"))
    assert run_folder.identity(config, "these") == run_folder.identity(moved, "these")
    named = replace(config, data=DataConfig(name="sst2", folder="here"))
    names = [run_folder.name_of(one, run_folder.identity(one, "these")) for one in (config, named, Config())]
    assert [name.split("-")[0] for name in names] == ["custom", "sst2", "customer_reviews"]
    run_folder.open_folder(Folder(tmp_path) / "mine", run_folder.identity(config, "these"))
    run_folder.check(config, run_folder.identity(moved, "these"))
    with pytest.raises(UserError, match=r"was made from other data \(data.fingerprint was 'these', now 'those'\)"):
        run_folder.check(config, run_folder.identity(config, "those"))


def test_the_identity_of_a_run_depends_on_the_content_of_the_users_files(tmp_path: Path) -> None:
    vectors, words = tmp_path / "v.txt", tmp_path / "words.json"
    known = []
    for content in ("good 1 2", "good 1 3", "good 1 2"):
        vectors.write_text(content)
        words.write_text('{"good": ["fine"]}')
        config = Config(
            model=ModelConfig(vectors=str(vectors), embedding_dim=2), attack=AttackConfig(synonyms=str(words))
        )
        known.append(run_folder.identity(config, "these"))
    assert known[0] == known[2] != known[1]
    words.write_text('{"good": ["nice"]}')
    assert run_folder.identity(config, "these") != known[2]
    assert run_folder.identity(Config(), "these")["model"] == result_values(
        ModelConfig()
    )  # built-in ones go by their names


# ---- which fields a result depends on


def fields_of(config: Any, prefix: str = "", metadata: Any = None) -> Iterator[tuple[str, Any, Any]]:
    """Name, type hint and metadata of every field; fields of a section have the metadata of the section, if any."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        name, own = f"{prefix}{field.name}", metadata or field.metadata
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields_of(value, f"{name}.", own)
        else:
            yield name, hints[field.name], own


def with_value(config: Config, name: str, value: Any) -> Config:
    section, _, field = name.rpartition(".")
    if not section:
        return replace(config, **{field: value})
    return replace(config, **{section: replace(getattr(config, section), **{field: value})})


def value_of(config: Config, name: str) -> Any:
    section, _, field = name.rpartition(".")
    return getattr(getattr(config, section) if section else config, field)


def other_value(name: str, hint: Any, value: Any) -> Any:
    """Another valid value of a field."""
    many = isinstance(value, tuple)
    if name == "attack.resources":
        return (f"gpt2={__file__}",)
    if allowed := attacks.names() if name in ATTACK_NAMES else choices(name):
        other = next(one for one in allowed if one not in (value[:1] if many else (value,)))
        return (other,) if many else other
    if isinstance(value, bool):
        return not value
    if many:
        return (*value, 7 if int in typing.get_args(hint) else "seven")
    if isinstance(value, int):
        return value + 1
    types = typing.get_args(hint) or (hint,)
    if int in types:
        return 7
    return (value or 0.25) / 2 if float in types else f"{value or ''}x"


ALL_FIELDS = list(fields_of(Config()))


@pytest.mark.parametrize(("name", "hint", "metadata"), ALL_FIELDS, ids=[name for name, _, _ in ALL_FIELDS])
def test_a_field_changes_the_identity_of_a_run_unless_it_is_marked(name: str, hint: Any, metadata: Any) -> None:
    # With `both`, each field has an effect, except for the one that needs substitutes alone.
    adversaries = "gradient" if name == "objective.adversarial_target" else "both"
    config = Config(data=DataConfig(folder="here"), training=TrainingConfig(adversaries=adversaries))
    changed = with_value(config, name, other_value(name, hint, value_of(config, name)))
    assert changed != config
    validate(changed)
    before, after = (run_folder.identity(one, "fingerprint") for one in (config, changed))
    if name.startswith("data.") and metadata == BY_CONTENT:  # the dataset's name is shown: the content decides
        before["data"].pop("name"), after["data"].pop("name")
        assert after == before != run_folder.identity(changed, "another fingerprint")
    else:
        assert (after == before) == (metadata == NOT_IN_RESULT)


def test_the_metadata_of_a_field_is_known() -> None:
    assert all(metadata in ({}, NOT_IN_RESULT, PLAN, BY_CONTENT, UNLESS_DEFAULT) for _, _, metadata in ALL_FIELDS)


def test_stages_depend_on_all_fields_but_those_that_are_marked() -> None:
    config = Config()
    for section in ("data", "model", "objective", "training", "attack", "evaluation"):
        values = stage_values(getattr(config, section))
        unmarked = {name for name, _, metadata in ALL_FIELDS if name.startswith(f"{section}.") and not metadata}
        assert {f"{section}.{name}" for name in values} == unmarked
    assert {"device", "precision", "micro_batch", "batch_size"} <= stage_values(config.training).keys()
    assert not {"kinds", "rounds", "checkpointing", "memory_gib"} & stage_values(config.training).keys()


def test_a_field_counts_only_with_another_value_than_its_default_if_it_is_marked(tmp_path: Path) -> None:
    config = Config(training=TrainingConfig(kinds=("base",)))
    grouped = replace(config, model=replace(config.model, group_masks=10))
    for values in (result_values, stage_values):
        assert "group_masks" not in values(config.model) and values(grouped.model)["group_masks"] == 10
    assert result_values(config, defaults=True)["model"] == to_dict(config.model)
    first, second = (run_folder.identity(one, "these") for one in (config, grouped))
    for name, old, new, message in (("a", first, second, "was 0, now 10"), ("b", second, first, "was 10, now None")):
        folder = Folder(tmp_path / name)
        run_folder.open_folder(folder, old)
        run_folder.check_folder(folder, old)
        with pytest.raises(UserError, match=f"model.group_masks {message}"):
            run_folder.check_folder(folder, new)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--model.name", "minilm", "--training.kinds", "base"], "but minilm reads word pieces"),
        ([], "not available in flat, which has a word mask of its own"),
    ],
)
def test_group_masks_are_refused_where_they_have_no_place(given: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(parse("--preset", "customer_reviews", "--model.group-masks", "10", *given))


def test_resolving_the_hardware_does_not_change_the_run(tmp_path: Path) -> None:
    config = Config(storage=str(tmp_path), run_name="mine")
    resolved = replace(config, training=replace(config.training, device="cuda", precision="bfloat16", memory_gib=78.0))
    run_folder.open_folder(Folder(tmp_path) / "mine", run_folder.identity(resolved, "these"))
    run_folder.check(config, run_folder.identity(config, "these"))
    elsewhere = replace(resolved, training=replace(resolved.training, device="cpu"))
    with pytest.raises(UserError, match=r"training.device was 'cuda', now 'cpu'"):
        run_folder.check(config, run_folder.identity(elsewhere, "these"))


def test_later_presets_replace_fields_of_earlier_ones(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("training: {rounds: 5}\nmodel: {name: deberta}")
    config = parse("--preset", f"imdb,transformer,{tmp_path / 'mine.yaml'}", "--training.clip", "2")
    assert (config.data.name, config.data.max_length, config.attack.sample) == ("imdb", 250, 10000)
    assert (config.model.name, config.training.optimizer, config.training.batch_size) == ("deberta", "adamw", 8)
    assert (config.training.rounds, config.training.clip) == (5, 2.0)
    with pytest.raises(UserError, match="unknown preset 'transformers'"):
        parse("--preset", "imdb,transformers")


def test_a_high_learning_rate_for_a_transformer_gives_a_hint(sentences: Dataset) -> None:
    assert "1e-5 to 1e-4" in hints(parse("--model.name", "bert"), sentences)[0]
    for preset in ("customer_reviews", "rotten_tomatoes", "sst2,transformer", "minilm"):
        assert not hints(parse("--preset", preset), sentences)
