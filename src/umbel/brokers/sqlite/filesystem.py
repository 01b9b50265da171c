"""Whether a file lies where SQLite's locks work."""

from __future__ import annotations

import os
from pathlib import Path

from ...errors import StoreUnusable

MOUNTS = Path("/proc/self/mountinfo")
NETWORK = frozenset(
    (
        "nfs",
        "nfs4",
        "cifs",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
        "ncpfs",
        "9p",
        "afs",
        "ceph",
        "glusterfs",
        "lustre",
        "gpfs",
        "beegfs",
        "orangefs",
    )
)
NETWORK_FUSE = ("sshfs", "s3fs", "glusterfs", "rclone", "gcsfuse", "davfs", "curlftpfs", "goofys", "ceph", "juicefs", "blobfuse")


def is_network(kind: str) -> bool:
    """Is a file system of this kind shared between machines? WAL needs memory that all writers share, so it cannot be there."""
    main, _, sub = kind.partition(".")
    return kind in NETWORK or (main == "fuse" and sub.startswith(NETWORK_FUSE))


def kind_at(device: int, mounts: str) -> str:
    """The kind of the file system with this device number, by the text of ``mountinfo``; empty if it is not told."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) > 2 and fields[2] == wanted and after:
            return after.split()[0]
    return ""


def kind_of(path: Path) -> str:
    """The kind of the file system that a file lies on; empty where it cannot be told (Linux tells it)."""
    try:
        mounts, device = MOUNTS.read_text(encoding="utf-8", errors="replace"), path.parent.stat().st_dev
    except OSError:
        return ""
    return kind_at(device, mounts)


def refuse_network(path: Path) -> None:
    """Raise ``StoreUnusable`` for a file on a network file system, where this can be told (Linux); else do nothing."""
    kind = kind_of(path)
    if is_network(kind):
        raise StoreUnusable(
            f"{path} lies on a network file system ({kind}), where SQLite's locks do not hold and messages would be lost; "
            "use a local disk, or a Redis broker for several machines"
        )
