"""`python -m flat_dist.resources` is the command `flat-dist resources`."""

from flat_dist.commands.main import run

if __name__ == "__main__":
    run("resources")
