"""The sample app, with subscribers to what happens in supervisors."""

import os
import time

from sample import app, put_mark

from umbel.events import ChildDied, LeaseLost, Reconnected, TaskTimedOut


def _told(event):
    if os.path.exists(os.environ["SAMPLE_MARKS"] + ".slow"):
        time.sleep(0.7)
    if isinstance(event, ChildDied):
        put_mark("causes", event.cause)
    what = event.blamed if isinstance(event, ChildDied) else event.kind if isinstance(event, TaskTimedOut) else "told"
    put_mark(type(event).__name__, str(what))
    if os.path.exists(os.environ["SAMPLE_MARKS"] + ".deadly"):
        os.unlink(os.environ["SAMPLE_MARKS"] + ".deadly")
        os._exit(1)
    if os.path.exists(os.environ["SAMPLE_MARKS"] + ".hangs"):
        time.sleep(600)


for kind in (ChildDied, LeaseLost, Reconnected, TaskTimedOut):
    app.events.subscribe(kind, _told)
