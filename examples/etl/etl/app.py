from umbel import Umbel

app = Umbel("etl", include=["etl.tasks"])
