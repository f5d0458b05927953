"""Which folder a checkpoint's name means: here first, then in this project, then beside it."""

from __future__ import annotations

from pathlib import Path

from env.stack import ROOT, load_stack


def default_model_dir() -> str:
    """The checkpoint folder of the public recipe, in this project or beside it, else the stand-in."""
    stack = load_stack()
    folder = _in_or_beside(stack.checkpoint)
    if folder is not None:
        return str(folder)
    return stack.stand_in if stack.stand_in.startswith("synthetic:") else str(ROOT / stack.stand_in)


def resolve_model_dir(name: str | None) -> str:
    """The folder that `name` means, made absolute (the checks may run elsewhere); a stand-in's name as it is.

    A folder that is not here is looked for in this project and beside it: records name a checkpoint by its folder's
    name, and the commands in them are to lead to it again.
    """
    if name is None:
        return default_model_dir()
    if name.startswith("synthetic:"):
        return name
    folder = None if Path(name).exists() else _in_or_beside(name)
    return str(folder or Path(name).resolve())


def _in_or_beside(name: str) -> Path | None:
    return next((folder / name for folder in (ROOT, ROOT.parent) if (folder / name).is_dir()), None)
