"""What a command does first: a job imports this module before all else of this package. No other import has an effect.

To import the rest takes seconds, in which an interrupt would end in a traceback. And some of it asks for the home
folder, which not every user has: neither HOME nor an entry among the users of the machine, as in containers.
"""

import os
from pathlib import Path

from flat_dist.runtime import interrupts

NO_HOME = "/nonexistent"
"""What systems give users who have no home."""

interrupts.exit_on_signal()
try:
    Path.home()
except RuntimeError:
    os.environ["HOME"] = NO_HOME
