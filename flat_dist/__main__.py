"""`python -m flat_dist` is the command `flat-dist`."""

from flat_dist.commands.main import main

if __name__ == "__main__":
    main()
