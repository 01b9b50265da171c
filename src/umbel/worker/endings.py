"""The exit statuses of children that end by themselves: data, so that a supervisor knows them without what a child is made of."""

from __future__ import annotations

EXIT_FENCED = 4
"""The store admits it no longer."""
EXIT_UNSEEN = 5
"""Nobody watches it, nor will."""
EXIT_OVERDUE = 6
"""All that is left to run is over its hard limit: what that means is the supervisor's to say."""
