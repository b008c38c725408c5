"""`python jobs/predict.py` is the command `flat-dist predict`."""

from flat_dist.commands.main import run

if __name__ == "__main__":
    run("predict")
