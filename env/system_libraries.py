"""What the locked wheels take from the system, which setup cannot install."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from env.errors import HostError
from env.language import _
from env.stack import this_machine

# By architecture: torchaudio 2.9.0's wheel for aarch64 links libgomp.so.1 by that name, and torch brings one under
# another (torch.libs/libgomp-*.so.1.0.0). On x86_64 torch brings the one that both link (readelf -d of the wheels).
NEEDED = {"aarch64": "libgomp.so.1"}


def require(load: Callable[[str], object] = ctypes.CDLL) -> None:
    """Stop before a gigabyte is downloaded that could not be imported.

    Raises:
        HostError: the loader does not find a library that the wheels need.
    """
    machine = this_machine()
    library = NEEDED.get(machine)
    if library is None:
        return
    try:
        load(library)
    except OSError as error:
        what = _(
            "{library} is not on this system, and torchaudio needs it on {machine}", library=library, machine=machine
        )
        raise HostError(
            what,
            why=str(error),
            next=_("sudo apt-get install libgomp1, or sudo dnf install libgomp"),
        ) from error
