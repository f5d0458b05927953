"""Plain text tables for the terminal, and the lines that say what figures were taken with."""

from __future__ import annotations

from collections.abc import Sequence

from model.signature import Signature


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the first is flush left, the others flush right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]

    def render(line: Sequence[str]) -> str:
        padded = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        return "  ".join([line[0].ljust(widths[0]), *padded[1:]]).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([render(lines[0]), rule, *map(render, lines[1:])])


def number(value: float | None, form: str) -> str:
    """`value` formatted, or a dash where there is none."""
    return "-" if value is None else format(value, form)


def heading(signature: Signature, parameters: int, load_seconds: float) -> str:
    """What every figure below was taken with."""
    kind = "stand-in: synthetic weights" if signature.weights_kind == "stand-in" else "checkpoint"
    threads = f", {signature.threads} thread(s)" if signature.device == "cpu" else ""
    emulated = "  EMULATED" if signature.emulated else ""
    versions = ", ".join(f"{name} {version}" for name, version in (signature.versions or {}).items())
    return "\n".join(
        [
            f"model     {signature.weights_name} ({kind}), {parameters:,} parameters",
            f"weights   sha256 {signature.weights_sha256}",
            f"device    {signature.device}, {signature.device_name}{threads}{emulated}",
            f"run       {signature.dtype}, attention {signature.attention}, batch {signature.batch}, "
            f"seq-len {signature.seq_len} ({signature.positions} positions), seed {signature.seed}",
            f"versions  {versions}",
            f"load      {load_seconds:.1f} s",
        ]
    )
