"""The first import of every command. It is the only module of this package whose import has an effect.

Importing the rest takes a second or more: an interrupt in that time would print a traceback. Some libraries need the
home folder, which a user in a container may not have (neither HOME nor an entry among the users of the machine).
"""

import os
from pathlib import Path

from flat_dist.runtime import interrupts

NO_HOME = "/nonexistent"
"""Home folder of users who have none, as Linux systems name it."""

interrupts.exit_on_signal()
try:
    Path.home()
except RuntimeError:
    os.environ["HOME"] = NO_HOME
