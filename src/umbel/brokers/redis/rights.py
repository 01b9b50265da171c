"""What an ACL user of the server must be allowed. ``docs/redis.md`` shows the same as a line to copy."""

from __future__ import annotations

COMMANDS = (
    # sent by this broker
    *("evalsha", "eval", "script|load", "info", "time", "select", "client|setname", "blpop", "hgetall", "ping", "xread"),
    # called by its scripts
    *("del", "unlink", "exists", "persist", "pexpire", "pttl", "get", "incr", "incrby", "decrby"),
    *("hdel", "hexists", "hget", "hincrby", "hlen", "hmget", "hscan", "hset"),
    *("lindex", "llen", "lpop", "lpush", "lrange", "rpush"),
    *("sadd", "scard", "sismember", "smembers", "srandmember", "srem"),
    *("zadd", "zcard", "zcount", "zrange", "zrangebyscore", "zrem", "zremrangebyrank", "zremrangebyscore", "zrevrange", "zrevrank"),
    *("zscore", "xadd"),
)
CLUSTER_COMMANDS = ("cluster|slots",)
"""In a cluster, these too."""
DOCTOR_COMMANDS = ("config|get", "scan")
"""Without these ``umbel doctor`` sees less, and everything else works."""


def rule(root: bytes) -> str:
    """The rule of a user that may do what is needed on one app's keys, and nothing else. ``root``: what its keys begin with."""
    allowed = " ".join(f"+{command}" for command in (*COMMANDS, *CLUSTER_COMMANDS, *DOCTOR_COMMANDS))
    return f"resetkeys resetchannels ~{root.decode('utf-8', 'replace')}* -@all {allowed}"
