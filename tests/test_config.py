from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from flat_dist import cli
from flat_dist.config.errors import UserError
from flat_dist.config.schema import AttackConfig, Config, DataConfig, ModelConfig
from flat_dist.config.serialization import content_hash, from_dict, from_yaml, presets, to_dict
from flat_dist.config.validation import CHOICES, LOWEST, POSITIVE, validate
from flat_dist.data.datasets import Dataset
from flat_dist.pipeline import run_folder
from flat_dist.pipeline.adversarial_training import hints
from flat_dist.storage.folder import Folder


def parse(*arguments: str) -> Config:
    return cli.parse(arguments, "test").config


def test_a_config_survives_plain_values_and_yaml() -> None:
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
def test_yaml_means_what_it_says(text: str, field: str, expected: object) -> None:
    value = from_yaml(text, "x.yaml")
    for part in field.split("."):
        value = getattr(value, part)
    assert value == expected and type(value) is type(expected)


def test_the_hash_depends_on_content_alone() -> None:
    values = to_dict(Config())
    assert content_hash(values) == content_hash(dict(reversed(values.items())))
    assert content_hash(values) != content_hash(to_dict(replace(Config(), seed=1)))


@pytest.mark.parametrize("name", presets())
def test_presets_are_valid_and_the_papers_lengths_are_table_6s(name: str) -> None:
    config = cli.load_preset(name)
    validate(config)
    lengths = {"sst2": (50, 0), "imdb": (250, 5), "ag_news": (50, 5), "trec": (15, 0)}
    if name in lengths:
        assert (config.data.max_length, config.data.min_frequency) == lengths[name]
        assert config.data.name == name


def test_every_field_that_is_checked_exists() -> None:
    for name in (*CHOICES, *LOWEST, *POSITIVE):
        value = Config()
        for part in name.split("."):
            value = getattr(value, part)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--objective.beta", "-1"], "--objective.beta is -1.0, but must be at least 0"),
        (["--objective.gamma", "nan"], "--objective.gamma is nan"),
        (["--training.learning-rate", "0"], "--training.learning_rate is 0.0, but must be above 0"),
        (
            ["--model.name", "cnm"],
            "cnm': choose one of bert, cnn, deberta, encoder, lstm, minilm; did you mean 'cnn'?",
        ),
        (["--attack.name", "textfolder"], "did you mean 'textfooler'"),
        (["--evaluation.attacks", "pwws", "bae"], "unknown value of --evaluation.attacks 'bae'"),
        (["--training.kinds", "flatt"], "did you mean 'flat'"),
        (["--preset", "rotten"], "unknown preset 'rotten': choose one of"),
        (["--preset", "nowhere.yaml"], "preset file nowhere.yaml does not exist"),
        (["--model.dropout", "1"], "--model.dropout is 1.0, but must be below 1"),
        (["--attack.gpus-per-worker", "1.5"], "must be below 1"),
    ],
)
def test_bad_values_get_one_sentence(arguments: list[str], message: str) -> None:
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
        ("training: 3", "training must hold fields"),
        ("a: [", "is not valid YAML"),
        ("seed: 1\nseed: 2", "the key 'seed' stands there twice"),
        ("training:\n\trounds: 1", "is not valid YAML"),
        ("training: {rounds: 1.0}", "training.rounds must be int, not 1.0"),
        ("training: {rounds: 1e3}", "training.rounds must be int, not 1000.0"),
        ("tracking: {enabled: maybe}", "tracking.enabled must be bool, not 'maybe'"),
        ("run_name: true", "run_name must be str or nothing, not True: write it in quotes, as in 'True'"),
        ("training: {learning_rate: 1" + "0" * 400 + "}", "is too large for one"),
        ("seed: " + "9" * 5000, "is not valid YAML"),
        ("[" * 5000, "is not valid YAML"),
        ("a: !!python/object:os.system x", "is not valid YAML"),
        ("&a [*a]", "the file must hold fields"),
        ("- &a [x, x, x, x, x, x]\n- &b [*a, *a, *a, *a, *a]\n- [*b, *b, *b, *b]", "the file must hold fields"),
        ("- 1", "the file must hold fields"),
    ],
)
def test_bad_presets_name_the_field(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        from_yaml(text, "x.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_option_replaces_a_field_of_the_preset() -> None:
    assert parse("--preset", "trec").data.max_length == 15
    assert parse("--preset=trec", "--data.max-length", "20").data.max_length == 20


def test_a_run_folder_takes_one_config(tmp_path) -> None:
    config = Config(storage=str(tmp_path), run_name="mine")
    folder = Folder(tmp_path) / "mine"
    for workers in (0, 1):  # changes no result
        same = replace(config, attack=replace(config.attack, workers=workers))
        run_folder.open_folder(folder, run_folder.relevant(same))
    other = replace(config, objective=replace(config.objective, beta=0.2))
    with pytest.raises(UserError, match=r"another config \(objective.beta was 0.1, now 0.2\)"):
        run_folder.open_folder(folder, run_folder.relevant(other))
    names = {
        run_folder.run_name(replace(one, run_name=None), run_folder.identity(one, data))
        for one in (config, other)
        for data in ("these", "those")
    }
    assert len(names) == 4


def test_other_data_are_another_run_and_the_same_data_elsewhere_are_not(tmp_path: Path) -> None:
    config = Config(storage=str(tmp_path), run_name="mine", data=DataConfig(folder="here"))
    moved = replace(config, data=DataConfig(train="a.csv", dev="b.csv", test="c.csv", text_column="words"))
    assert run_folder.identity(config, "these") == run_folder.identity(moved, "these")
    named = replace(config, data=DataConfig(name="sst2", folder="here"))
    names = [run_folder.name_of(one, run_folder.identity(one, "these")) for one in (config, named, Config())]
    assert [name.split("-")[0] for name in names] == ["custom", "sst2", "rotten_tomatoes_sample"]
    run_folder.open_folder(Folder(tmp_path) / "mine", run_folder.identity(config, "these"))
    run_folder.check(config, run_folder.identity(moved, "these"))
    with pytest.raises(UserError, match=r"was made from other data \(data.fingerprint was 'these', now 'those'\)"):
        run_folder.check(config, run_folder.identity(config, "those"))


def test_the_users_files_are_part_of_a_run_by_their_content(tmp_path: Path) -> None:
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
    assert run_folder.identity(Config(), "these")["model"] == to_dict(ModelConfig())  # built-in ones go by their names


def test_presets_are_put_together_and_the_later_one_wins(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("training: {rounds: 5}\nmodel: {name: deberta}")
    config = parse("--preset", f"imdb,transformer,{tmp_path / 'mine.yaml'}", "--training.clip", "2")
    assert (config.data.name, config.data.max_length, config.attack.sample) == ("imdb", 250, 10000)
    assert (config.model.name, config.training.optimizer, config.training.batch_size) == ("deberta", "adamw", 8)
    assert (config.training.rounds, config.training.clip) == (5, 2.0)
    with pytest.raises(UserError, match="unknown preset 'transformers'"):
        parse("--preset", "imdb,transformers")


def test_a_rate_that_unlearns_an_encoder_is_hinted_at(sentences: Dataset) -> None:
    assert "1e-5 to 1e-4" in hints(parse("--model.name", "bert"), sentences)[0]
    for preset in ("rotten_tomatoes", "sst2,transformer", "minilm"):
        assert not hints(parse("--preset", preset), sentences)
