"""Makes this process a command that may be interrupted; a job imports it before all else of this package.

To import the rest takes seconds, in which an interrupt would end in a traceback. No other import here has an effect.
"""

from flat_dist import interrupts

interrupts.end_at_once()
