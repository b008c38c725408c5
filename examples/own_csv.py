"""Train classifiers on your own CSV files (columns text and label), and see what an attack does to each of them.

python examples/own_csv.py train.csv dev.csv test.csv
"""

import argparse

import flat_dist as fd


def main(arguments: argparse.Namespace) -> None:
    """Train, attack, predict and explain."""
    data = fd.load_dataset({"train": arguments.train, "dev": arguments.dev, "test": arguments.test})
    print(f"classes: {', '.join(data.label_names)}; {data.train.num_rows} training texts")

    # base: trained on clean texts; adv: adversarial training; flat: FLAT. A second call repeats no finished step.
    trained = fd.train(
        data,
        settings={
            "training.kinds": ("base", "adv", "flat"),
            "training.epochs": arguments.epochs,
            "evaluation.sample": arguments.sample,
            "evaluation.explain": ("ig",),
            "tracking.enabled": False,
        },
        storage=arguments.storage,
    )
    print(trained.results[["model", "attack", "accuracy", "after_attack_accuracy", "kendall_tau_ig"]].to_string())
    print(f"report: {trained.report}")

    # The texts that an attack of another kind made against FLAT.
    attacked = fd.attack(
        trained.checkpoints["flat"], data, attack="pwws", sample=arguments.sample, storage=arguments.storage
    )
    print(f"flat after PWWS: {attacked.summary.after_attack_accuracy:.1%} of {attacked.summary.n} texts")
    for row in attacked.texts.to_pylist():
        if row["status"] == "successful":
            print(f"  {row['original_text']}\n  -> {row['perturbed_text']}")

    # One text: its class, and the words that speak for it.
    model = fd.load_model(trained.checkpoints["flat"])
    text = data.test["text"][0].as_py()
    (prediction,) = fd.predict(model, [text]).to_pylist()
    (explanation,) = fd.explain(model, [text])
    print(f"{prediction['label']}: {text}")
    for word, share in zip(explanation.words, explanation.attributions[explanation.label], strict=True):
        print(f"  {share:+.3f}  {word}")

    # A threshold, as a check in CI would have it.
    for check in trained.check("after_attack_accuracy=0.3"):
        print("passed" if check.passed else "failed", check.sentence)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for split in ("train", "dev", "test"):
        parser.add_argument(split, help="CSV file with the columns text and label")
    parser.add_argument("--epochs", type=int, default=6, help="epochs of the base model")
    parser.add_argument("--sample", type=int, default=100, help="number of test texts to attack; 0: all")
    parser.add_argument("--storage", default="runs", help="folder for checkpoints, attacks and results")
    main(parser.parse_args())
