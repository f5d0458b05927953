"""The operating system around it: name, container, memory as far as the container allows it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from env.probe import vendor
from env.probe.host import System
from env.probe.snapshot import Snapshot
from env.probe.tree import Tree

_KB = re.compile(r"^(?P<name>\w{1,40}):[ \t]+(?P<kb>[0-9]{1,15}) kB", re.MULTILINE)
_UNLIMITED = 1 << 60  # cgroup v1 writes a number near 2**63 for "no limit"
# (limit, usage) of cgroup v2 and v1
_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
_MARKS = {"/.dockerenv": "docker", "/run/.containerenv": "podman", "/var/run/secrets/kubernetes.io": "kubernetes"}


def system(tree: Tree, snapshot: Snapshot) -> System:
    release = vendor.assignments(tree.read("/etc/os-release") or "")
    total, available = _memory(tree)
    return System(
        machine=snapshot.machine,
        kernel=snapshot.kernel,
        name=release.get("PRETTY_NAME"),
        libc=snapshot.libc,
        container=_container(tree, snapshot.environ, snapshot.kubernetes),
        cpus=snapshot.cpus,
        memory_total=total,
        memory_available=available,
        disks=snapshot.disks,
    )


def _container(tree: Tree, environ: Mapping[str, str], kubernetes: bool) -> str | None:
    if kubernetes:
        return "kubernetes"
    for path, name in _MARKS.items():
        if tree.exists(path):
            return name
    return environ.get("container") or None


def _memory(tree: Tree) -> tuple[int | None, int | None]:
    """Total and available bytes: the host's, or the container's where its limit is tighter."""
    sizes = {match["name"]: int(match["kb"]) * 1024 for match in _KB.finditer(tree.read("/proc/meminfo") or "")}
    total, available = sizes.get("MemTotal"), sizes.get("MemAvailable")
    for limit_file, usage_file in _CGROUPS:
        limit, usage = _number(tree.read(limit_file)), _number(tree.read(usage_file))
        if limit is not None and limit < _UNLIMITED and (total is None or limit < total):
            total = limit
            left = limit - (usage or 0)
            available = left if available is None else min(available, left)
    return total, available


def _number(text: str | None) -> int | None:
    word = (text or "").strip()
    return int(word) if word.isascii() and word.isdigit() and len(word) < 20 else None
