"""The file that reference values are kept in, and the folder of those that were made here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shlex
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from env import elsewhere
from env.atomic import replacing
from env.digest import file_sha256
from env.errors import ReferenceFileError, StorageError
from env.language import Message, _
from env.stack import ROOT
from model.checkpoint import Checkpoint
from model.components import Inputs
from verify.reference import words
from verify.reference.progress import say
from verify.reference.values import MODES, SCHEMA, Description, DtypeNoise, Expected, Key, Noise

if TYPE_CHECKING:
    import torch

    from model.hooks import Point

FOLDER = ROOT / ".cache" / "references"
# What must be equal for a file to be a run's; "dtype", "tokens" and "dtypes" may be more than the run needs.
IDENTITY = {
    "schema": _("layout"),
    "weights_sha256": _("weights"),
    "config_sha256": "config.json",
    "inputs_sha256": _("inputs (--seed, --seq-len, --batch-size)"),
    "transformers": _("transformers version"),
    "gelu": _("form of GELU (--gelu)"),
}
HOW_TO_MAKE = "python -m verify.reference --help"
Read = TypeVar("Read")


def save(expected: Expected, path: Path) -> None:
    """Write the file by atomic rename.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    write(*_content(expected), path)


def write(stored: Mapping[str, torch.Tensor], metadata: Mapping[str, str], path: Path) -> None:
    """Tensors and metadata by atomic rename.

    Raises: StorageError.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        try:
            save_file(dict(stored), temporary, dict(metadata))
        except SafetensorError as error:  # the library's own error for a disk that is full: "... (os error 28)"
            if number := re.search(r"os error (\d+)", str(error)):
                raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
            raise OSError(str(error)) from error


def save_somewhere(expected: Expected, path: Path) -> None:
    """As `save`; where that cannot be, into the folder for temporary files: what took an hour is not thrown away.

    Raises:
        StorageError: it is not where it should be; the error names the place where it is instead, if anywhere.
    """
    try:
        save(expected, path)
    except StorageError as error:
        elsewhere = Path(tempfile.gettempdir(), f"{os.getpid()}-{path.name}")
        try:
            save(expected, elsewhere)
        except StorageError:
            raise error from None
        raise StorageError(
            error.what,
            why=_("{reason}; the values are kept in {path}", reason=error.why, path=str(elsewhere)),
            next=shlex.join(["mv", str(elsewhere), str(path)]),
        ) from error


def require_writable(path: Path) -> None:
    """Look, before the work, whether a file can be written at `path`.

    Raises:
        StorageError: it cannot.
    """
    with contextlib.suppress(_Tried), replacing(path) as temporary:
        temporary.touch()
        raise _Tried


class _Tried(Exception):  # noqa: N818 (no error: it keeps `replacing` from putting the empty file in place)
    pass


def _content(expected: Expected) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The file's tensors and metadata; tensors that are equal are stored once."""
    stored = {"tokens": expected.tokens, "scores": expected.scores}
    names: dict[str, str] = {}
    rows = []
    for key, point in expected.points.items():
        value = expected.values[key].contiguous()
        digest = hashlib.sha256(f"{list(value.shape)}".encode() + value.numpy().tobytes()).hexdigest()
        name = names.setdefault(digest, f"value.{len(names)}")
        stored[name] = value
        noise = {dtype: {mode: modes[mode][key] for mode in modes} for dtype, modes in expected.noise.items()}
        rows.append(asdict(point) | {"value": name, "noise": noise})
    # One entry: the library writes several in an order of its own, and the file would not be the same twice.
    content = {
        "about": asdict(expected.description),
        "points": rows,
        "noise": {
            dtype: {"scores": noise.scores, "components": noise.components}
            for dtype, noise in expected.noise_of.items()
        },
    }
    if expected.words is not None:
        stored |= {name: tensor.contiguous() for name, tensor in expected.words.tensors.items()}
        content["words"] = expected.words.metadata
    return stored, {"reference": json.dumps(content)}


def read(path: Path) -> Expected:
    """The values that `save` wrote.

    Raises:
        ReferenceFileError: the file is absent, damaged, of another layout, or no reference file at all.
    """

    def whole(content: Mapping[str, Any]) -> None:
        if content["about"]["schema"] != SCHEMA:
            raise unfit(path, [_other("schema", content["about"]["schema"], SCHEMA)])

    return read_with(path, "reference", whole, _expected)


def read_with(
    path: Path,
    entry: str,
    look: Callable[[Mapping[str, Any]], None],
    build: Callable[[Mapping[str, Any], Mapping[str, torch.Tensor], str], Read],
) -> Read:
    """What `build` makes of the metadata's `entry`, which `look` has seen, of the tensors, and of the file's digest.

    Raises: ReferenceFileError.
    """
    from safetensors import SafetensorError, safe_open

    try:
        os.close(elsewhere.descriptor(path))  # what is no regular file would be waited for
        with safe_open(path, framework="pt") as opened:
            content = elsewhere.parse_json((opened.metadata() or {})[entry])
            look(content)
            stored = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (it is no mapping)
        return build(content, stored, file_sha256(path))
    except FileNotFoundError as error:
        raise ReferenceFileError(_("no reference file at {path}", path=str(path)), next=HOW_TO_MAKE) from error
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        what = _("{path} is no reference file, or a damaged one: {error}", path=str(path), error=str(error))
        raise ReferenceFileError(what, next=HOW_TO_MAKE) from error


def _expected(content: Mapping[str, Any], stored: Mapping[str, torch.Tensor], sha256: str) -> Expected:
    from model.hooks import Point

    description = Description(**{**content["about"], "dtypes": tuple(content["about"]["dtypes"])})
    points: dict[Key, Point] = {}
    values: dict[Key, torch.Tensor] = {}
    by_point: dict[str, dict[str, dict[Key, Noise]]] = {d: {m: {} for m in MODES} for d in description.dtypes}
    for row in content["points"]:
        value, levels = stored[row.pop("value")], row.pop("noise")
        point = Point(**row)
        points[point.key], values[point.key] = point, value
        for dtype, modes in by_point.items():
            for mode in modes:
                modes[mode][point.key] = _pair(levels[dtype][mode])
    noise = {
        dtype: DtypeNoise(
            by_point[dtype],
            _pair(whole["scores"]),
            {name: _pair(level) for name, level in whole["components"].items()},
        )
        for dtype, whole in content["noise"].items()
    }
    spoken = words.from_file(content["words"], stored, sha256) if content.get("words") else None
    return Expected(description, points, values, stored["tokens"], stored["scores"], noise, sha256, words=spoken)


def _pair(level: list[float]) -> Noise:
    rel, worst = level
    return float(rel), float(worst)


def require(expected: Expected, needed: Description, path: Path) -> None:
    """Refuse a file that is not of this checkpoint and these inputs, or that is not wide enough for this dtype.

    Raises:
        ReferenceFileError: everything that differs is named.
    """
    there = expected.description
    wrong = [
        _other(field, getattr(there, field), getattr(needed, field))
        for field in IDENTITY
        if getattr(there, field) != getattr(needed, field)
    ]
    wrong += [_("nothing for {dtype}", dtype=dtype) for dtype in needed.dtypes if dtype not in there.dtypes]
    if needed.dtype == "float64" != there.dtype:
        wrong.append(_("values in {dtype}, float64 needed", dtype=there.dtype))
    if wrong:
        raise unfit(path, wrong)


def _other(field: str, there: object, here: object) -> Message:
    return _(
        "other {part}: {there} there, {here} here", part=IDENTITY[field], there=str(there)[:16], here=str(here)[:16]
    )


def unfit(path: Path, differences: list[Message]) -> ReferenceFileError:
    return ReferenceFileError(
        _("{file} does not fit this run: {differences}", file=path.name, differences=differences),
        why=_("it was made of another checkpoint, other inputs, or by other versions"),
        next=HOW_TO_MAKE,
    )


def cached(checkpoint: Checkpoint, inputs: Inputs, description: Description, folder: Path | None = None) -> Expected:
    """The kept file of exactly this description, made now where there is none or it is damaged.

    Where it cannot be written, the values serve this process all the same; stderr and `unkept` say so: the next one
    makes them again.
    """
    name = hashlib.sha256(json.dumps(asdict(description), sort_keys=True).encode()).hexdigest()[:16]
    path = (folder or FOLDER) / f"{checkpoint.name.replace(':', '-')}-{name}.safetensors"
    with contextlib.suppress(ReferenceFileError):
        expected = read(path)
        require(expected, description, path)
        return expected
    from verify.reference import make  # torch, of which a process that only reads the file names has no need

    expected = make.make(checkpoint, inputs, description)
    try:
        save(expected, path)
    except StorageError as error:
        # The reason alone: a record names no folder of the machine.
        unkept = _("reference values could not be kept, and will be made again: {reason}", reason=error.why)
        say(unkept)
        return replace(expected, sha256=digest(*_content(expected)), unkept=unkept)
    return read(path)


def digest(stored: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 of the file that would have been written."""
    from safetensors.torch import save as serialise

    return hashlib.sha256(serialise(dict(stored), dict(metadata))).hexdigest()
