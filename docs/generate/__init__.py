"""The pages of ``docs/reference``, written from the code's own declarations: ``python -m docs.generate``, or ``make reference``.

They are committed, so that they can be read on a code host and be linked from anywhere; a test says when they are stale.
"""
