"""Which version of the bundle a run is of, and how a record names a checkpoint."""

from __future__ import annotations

from pathlib import Path

from env.runner import run
from env.stack import ROOT

VERSION_FILE = ROOT / "CHANGELOG.md"


def project() -> dict[str, str | None]:
    """The bundle's own version (CHANGELOG.md's newest heading) and git commit; None where it is no checkout."""
    headings = (line for line in VERSION_FILE.read_text(encoding="utf-8").splitlines() if line.startswith("## "))
    version = next((heading[3:].split()[0].strip("[]") for heading in headings), "unknown")
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    # Unpacked into another repository, git would name that one's commit.
    commit = run(command).stdout.strip() if (ROOT / ".git").exists() else ""
    return {"version": version, "commit": commit or None}


def shown_model_dir(model_dir: str) -> str:
    """A stand-in's name, the path of a folder of this project, and of any other folder its name alone: a record names
    no path of the machine it was made on.
    """
    if model_dir.startswith("synthetic:"):
        return model_dir
    path = Path(model_dir)
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
