"""The app. Tasks are imported when somebody asks for them, so this module imports nothing of the project."""

from umbel import Umbel

app = Umbel("account-sync", include=["sync.tasks"])
