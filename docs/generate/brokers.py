"""Addresses of brokers, their options, and the rights that a Redis user needs."""

from __future__ import annotations

from umbel.brokers.redis import options as redis
from umbel.brokers.redis.keys import Keys
from umbel.brokers.redis.rights import CLUSTER_COMMANDS, COMMANDS, DOCTOR_COMMANDS, rule
from umbel.brokers.sqlite.address import MEANINGS

from .table import code, codes, table


def page() -> str:
    """The page."""
    options = [(code(name), redis.accepted(name), redis.MEANINGS[name]) for name in redis.known_options()]
    return f"""# Broker addresses

Options stand after a `?`, with `&` between; an unknown one, or one that does not belong to the address, is refused before
anything is opened. Which broker to take: [Choosing a broker](../brokers.md).

## `sqlite:///file.db`, `sqlite:////absolute/path/file.db`

A relative path is below the project's root: the nearest folder upwards with a `pyproject.toml`, a `.git` or a `manage.py`.

{table(("option", "what"), [(code(name), means) for name, means in MEANINGS.items()])}
## `redis://`, `rediss://`, `unix://`, `redis+sentinel://`, `redis+cluster://`

Forms and examples: [Running on Redis](../redis.md#addresses). `ssl_…` goes with addresses that begin with `rediss`, `sentinel_…` with
those of sentinels. There is no option for retries: a command whose reply was lost may have been done, so nothing below umbel repeats it.

{table(("option", "accepts", "what"), options)}
### Rights of an ACL user

For the app `bank`, as a line of `redis.conf` or the words behind `ACL SETUSER`:

```text
user bank on >SECRET {rule(Keys("bank").root)}
```

- needed: {codes(COMMANDS)}
- in a cluster: {codes(CLUSTER_COMMANDS)}
- for `umbel doctor`, which sees less without: {codes(DOCTOR_COMMANDS)}

## `memory://NAME`

A store of one process, for tests; nothing is kept after it. Every handle of the process that says the same name shares it; `memory://` is a
store of its own. It has no options.
"""
