"""Attack a fine-tuned classifier of Hugging Face, make it robust, and use the robust one without flat_dist.

python examples/huggingface_classifier.py my_classifier train.csv dev.csv test.csv

my_classifier is a folder that `model.save_pretrained` and `tokenizer.save_pretrained` wrote.
"""

import argparse

from transformers import pipeline

import flat_dist as fd


def main(arguments: argparse.Namespace) -> None:
    """Attack, train, export."""
    data = fd.load_dataset({"train": arguments.train, "dev": arguments.dev, "test": arguments.test})

    # Your classifier as it is: its own tokenizer, head and class names.
    attacked = fd.attack(arguments.classifier, data, attack="pwws", sample=arguments.sample, storage=arguments.storage)
    summary = attacked.summary
    print(
        f"accuracy {summary.standard_accuracy:.1%}, after PWWS {summary.after_attack_accuracy:.1%} of {summary.n} texts"
    )

    # base: your classifier, not trained any further; adv and flat start from its body and its head.
    trained = fd.train(
        data,
        preset="classifier",
        settings={
            "model.encoder": arguments.classifier,
            "training.kinds": ("base", "adv", "flat"),
            "training.epochs_per_round": arguments.epochs,
            "evaluation.attacks": ("pwws",),
            "evaluation.sample": arguments.sample,
            "evaluation.explain": (),
            "tracking.enabled": False,
        },
        storage=arguments.storage,
    )
    print(trained.results[["model", "attack", "accuracy", "after_attack_accuracy"]].to_string())

    # adv has no word mask, so that `transformers` loads it; flat stays a model of flat_dist.
    adv = fd.export(trained.checkpoints["adv"], f"{arguments.to}/adv")
    flat = fd.export(trained.checkpoints["flat"], f"{arguments.to}/flat")
    print(f"adv: {adv.format}; flat: {flat.format}, because {flat.reason}")

    text = data.test["text"][0].as_py()
    classify = pipeline("text-classification", model=adv.folder, device="cpu")
    print(text, classify(text), fd.predict(flat.folder, [text])["label"][0].as_py())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classifier", help="folder of the fine-tuned classifier")
    for split in ("train", "dev", "test"):
        parser.add_argument(split, help="CSV file with the columns text and label")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of adv and flat")
    parser.add_argument("--sample", type=int, default=100, help="number of test texts to attack; 0: all")
    parser.add_argument("--to", default="exported", help="folder for the robust models")
    parser.add_argument("--storage", default="runs", help="folder for checkpoints, attacks and results")
    main(parser.parse_args())
