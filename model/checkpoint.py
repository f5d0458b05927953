"""A checkpoint folder, judged from config.json and the safetensors headers before anything is loaded. No torch.

`inspect` reports every problem of the folder at once: a 4.6 GB download that is wrong in three ways should be
fetched again once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from env.atomic import write_json
from env.errors import CheckpointError, StorageError
from model import gate
from model.architecture import Architecture, Shape, parse
from model.safetensors_format import DTYPE_NAMES, DamagedFileError, Entry, read_header

CONFIG_FILE = "config.json"
SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
STAND_IN_FILE = "STAND_IN.json"  # says that the weights are synthetic; written by model/stand_in.py
FLOAT_DTYPES = ("BF16", "F16", "F32")
LISTED = 5  # names written out per problem; the rest is counted


@dataclass(frozen=True)
class Checkpoint:
    """A folder that passed inspection."""

    folder: Path
    kind: str  # "checkpoint", or "stand-in" where the weights are synthetic
    name: str  # the folder's name, or the stand-in's: "synthetic:tiny"
    config: Mapping[str, Any]
    architecture: Architecture
    shards: tuple[Path, ...]
    entries: Mapping[str, tuple[Path, Entry]]
    dtype: str  # of the floating-point tensors, as torch names it

    @property
    def parameters(self) -> int:
        return sum(self.architecture.parameters().values())

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.shards)

    def describe(self) -> dict[str, Any]:
        """The checkpoint as plain JSON, for records; the digest of the weights is `weights_sha256`'s."""
        architecture = self.architecture
        parts: dict[str, dict[str, Any]] = {
            "encoder": asdict(architecture.encoder),
            "projector": asdict(architecture.projector),
            "text": asdict(architecture.text)
            | {  # where config.json leaves them out
                "num_key_value_heads": architecture.text.key_value_heads,
                "head_dim": architecture.text.head_size,
            },
        }
        return {
            "path": str(self.folder),
            "name": self.name,
            "kind": self.kind,
            "parameters": self.parameters,
            "components": architecture.parameters(),
            "tensors": len(self.entries),
            "tensors_by_dtype": dict(Counter(DTYPE_NAMES[entry.dtype] for _, entry in self.entries.values())),
            "bytes": self.bytes,
            "dtype": self.dtype,
            "shards": [path.name for path in self.shards],
            "audio_token": architecture.audio_token,
            "architecture": parts,
        }


def inspect(folder: Path) -> Checkpoint:
    """Check a folder as `AutoModelForSpeechSeq2Seq.from_pretrained` will need it.

    Raises:
        CheckpointError: the folder is missing or damaged or holds another model; every problem is listed.
    """
    if not folder.exists():
        raise CheckpointError(
            f"no checkpoint at {folder}: the folder does not exist",
            next="put the checkpoint's files there, or try --model-dir synthetic:tiny",
        )
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is a file; a checkpoint is a folder", next=f"ls -l {folder}")
    gate.require_no_code(folder)
    config, problems = _read_object(folder / CONFIG_FILE)
    architecture: Architecture | None = None
    if config is not None:
        architecture, found = parse(config)
        problems += found
    shards, index_weights, found = _shards(folder)
    problems += found
    entries, found = _entries(shards)
    problems += found
    whole = not found and bool(shards)
    if whole and index_weights is not None:
        problems += _against_index(entries, index_weights)
    if whole and architecture is not None:
        problems += _against_architecture(entries, architecture)
    stand_in, found = _stand_in(folder)
    problems += found
    if problems or architecture is None or config is None:
        raise _damaged(folder, problems)
    dtypes = Counter(entry.dtype for _, entry in entries.values() if entry.dtype != "I64")
    return Checkpoint(
        folder=folder,
        kind="checkpoint" if stand_in is None else "stand-in",
        name=folder.name if stand_in is None else str(stand_in.get("name", folder.name)),
        config=config,
        architecture=architecture,
        shards=tuple(shards),
        entries=entries,
        dtype=DTYPE_NAMES[dtypes.most_common(1)[0][0]],
    )


def _damaged(folder: Path, problems: list[str]) -> CheckpointError:
    count = f"{len(problems)} problems" if len(problems) > 1 else "a problem"
    listing = "".join(f"\n  - {problem}" for problem in problems)
    again = f"fetch the named files again into {folder}, or try --model-dir synthetic:tiny"
    if (folder / STAND_IN_FILE).exists():
        again = f"rm -r {folder}, then the same command: a stand-in is made again"
    return CheckpointError(f"the checkpoint in {folder} has {count}:{listing}", next=again)


def _read_object(path: Path) -> tuple[dict[str, Any] | None, list[str]]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None, [f"{path.name} is missing"]
    except OSError as error:
        return None, [f"{path.name} cannot be read: {error.strerror}"]
    except ValueError as error:
        return None, [f"{path.name} is no JSON: {error}"]
    if not isinstance(value, dict):
        return None, [f"{path.name} is no JSON object"]
    return value, []


def _stand_in(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    path = folder / STAND_IN_FILE
    return _read_object(path) if path.exists() else (None, [])


def _shards(folder: Path) -> tuple[list[Path], dict[str, Any] | None, list[str]]:
    """The weight files that are there, the index where the weights are sharded, and what is missing."""
    if not (folder / INDEX_FILE).exists():
        single = folder / SINGLE_FILE
        if single.is_file():
            return [single], None, []
        others = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
        beside = f" ({', '.join(sorted(path.name for path in others)[:LISTED])} is there)" if others else ""
        return [], None, [f"no weights: neither {SINGLE_FILE} nor {INDEX_FILE}{beside}"]
    index, problems = _read_object(folder / INDEX_FILE)
    if index is None:
        return [], None, problems
    weights = index.get("weight_map")
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights.values()):
        return [], None, [f"{INDEX_FILE} has no weight_map from tensors to files"]
    names = sorted(set(weights.values()))
    foreign = gate.shard_problems(names)
    if foreign:
        return [], None, problems + foreign
    shards = [folder / name for name in names if (folder / name).is_file()]
    problems += [f"shard {name} is missing" for name in names if not (folder / name).is_file()]
    if (folder / SINGLE_FILE).is_file() and names != [SINGLE_FILE]:
        # PreTrainedModel.from_pretrained takes the single file first: what is judged here would not be what is loaded.
        problems.append(f"{SINGLE_FILE} lies beside the shards of {INDEX_FILE}, and would be loaded alone: remove one")
    return shards, index, problems


def _entries(shards: list[Path]) -> tuple[dict[str, tuple[Path, Entry]], list[str]]:
    entries: dict[str, tuple[Path, Entry]] = {}
    problems = []
    for path in shards:
        try:
            header = read_header(path)
        except DamagedFileError as error:
            problems.append(f"{path.name}: {error}")
            continue
        except OSError as error:
            problems.append(f"{path.name} cannot be read: {error.strerror}")
            continue
        twice = sorted(set(header) & set(entries))
        if twice:
            others = sorted({entries[name][0].name for name in twice})
            problems.append(f"{path.name} holds tensors that {', '.join(others)} holds too: {_names(twice)}")
        entries |= {name: (path, entry) for name, entry in header.items()}
    return entries, problems


def _against_index(entries: Mapping[str, tuple[Path, Entry]], index: Mapping[str, Any]) -> list[str]:
    weights = index["weight_map"]
    problems = []
    elsewhere = sorted(name for name, (path, _) in entries.items() if name in weights and weights[name] != path.name)
    if elsewhere:
        problems.append(f"tensors lie in another shard than {INDEX_FILE} says: {_names(elsewhere)}")
    metadata = index.get("metadata")
    declared = metadata.get("total_size") if isinstance(metadata, dict) else None
    size = sum(entry.end - entry.begin for _, entry in entries.values())
    if declared is not None and declared != size:
        problems.append(f"{INDEX_FILE} declares total_size {declared:,}, the shards hold {size:,} bytes of tensors")
    return problems


def _against_architecture(entries: Mapping[str, tuple[Path, Entry]], architecture: Architecture) -> list[str]:
    expected = architecture.tensors()
    optional = {"language_model.lm_head.weight"} if architecture.text.tie_word_embeddings else set()
    problems = []
    missing = sorted(set(expected) - set(entries))
    if missing:
        problems.append(f"{len(missing)} of {len(expected)} tensors missing: {_names(missing)}")
    unexpected = sorted(set(entries) - set(expected) - optional)
    if unexpected:
        problems.append(f"{len(unexpected)} tensors that this config does not have: {_names(unexpected)}")
    wrong = sorted(name for name, shape in expected.items() if name in entries and entries[name][1].shape != shape)
    for name in wrong[:LISTED]:
        problems.append(f"{name} is {_size(entries[name][1].shape)}, config.json implies {_size(expected[name])}")
    if len(wrong) > LISTED:
        problems.append(f"{len(wrong) - LISTED} more tensors have another shape than config.json implies")
    return problems + _dtypes(entries)


def _dtypes(entries: Mapping[str, tuple[Path, Entry]]) -> list[str]:
    counters = {name for name in entries if name.endswith("num_batches_tracked")}
    problems = []
    integers = sorted(name for name in counters if entries[name][1].dtype != "I64")
    if integers:
        problems.append(f"int64 expected: {_names(integers)}")
    floats = {name: entry.dtype for name, (_, entry) in entries.items() if name not in counters}
    foreign = sorted(name for name, dtype in floats.items() if dtype not in FLOAT_DTYPES)
    if foreign:
        kinds = ", ".join(sorted({floats[name] for name in foreign}))
        problems.append(f"tensors of {kinds}, where {', '.join(FLOAT_DTYPES)} are known: {_names(foreign)}")
    counts = Counter(dtype for dtype in floats.values() if dtype in FLOAT_DTYPES)
    if len(counts) > 1:
        rare = min(counts, key=lambda dtype: (counts[dtype], dtype))
        spread = ", ".join(f"{count} {DTYPE_NAMES[dtype]}" for dtype, count in counts.most_common())
        names = sorted(name for name, dtype in floats.items() if dtype == rare)
        problems.append(f"mixed dtypes ({spread}): {_names(names)}")
    return problems


def _names(names: list[str]) -> str:
    more = f", and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _size(shape: Shape) -> str:
    return str(list(shape))


def weights_sha256(checkpoint: Checkpoint, cache: Path | None = None) -> str:
    """SHA-256 of the weights: of the one file, or of the `sha256sum` listing of the shards in name order.

    `cache` is a JSON file that keeps digests by path, size and time of change, so that 4.6 GB are read once.
    """
    digests = {path.name: file_sha256(path, cache) for path in checkpoint.shards}
    if len(digests) == 1:
        return next(iter(digests.values()))
    listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(listing.encode()).hexdigest()


def file_sha256(path: Path, cache: Path | None = None) -> str:
    """SHA-256 of one file; `cache` as for `weights_sha256`."""
    state = path.stat()
    key = f"{path.resolve()}:{state.st_size}:{state.st_mtime_ns}:{state.st_ino}"
    known: dict[str, str] = {}
    if cache is not None:
        with contextlib.suppress(OSError, ValueError, TypeError):
            known = dict(json.loads(cache.read_text(encoding="utf-8")))
        if key in known:
            return known[key]
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if cache is not None:
        with contextlib.suppress(StorageError):  # a digest that cannot be kept is computed again
            write_json(cache, {**known, key: digest.hexdigest()})
    return digest.hexdigest()
