"""Feature-level adversarial training (FLAT; Chen & Ji, AAAI 2022) of text classifiers, distributed with Ray."""

__version__ = "0.1.0"
