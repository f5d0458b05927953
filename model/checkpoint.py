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

from env import digest, elsewhere
from env.atomic import write_json
from env.errors import CheckpointError, StorageError
from env.language import Message, _
from model import config_numbers, gate, variants
from model.architecture import MODEL_TYPE, Architecture, Shape, parse
from model.console import lines
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
            _("no checkpoint at {folder}: the folder does not exist", folder=folder),
            next=_("put the checkpoint's files there, or try --model-dir synthetic:tiny"),
        )
    if not folder.is_dir():
        raise CheckpointError(_("{folder} is a file; a checkpoint is a folder", folder=folder), next=f"ls -l {folder}")
    gate.require_no_code(folder)
    config, problems = _read_object(folder / CONFIG_FILE)
    architecture: Architecture | None = None
    if config is not None:
        architecture, of_config = parse(config)
        problems += [*of_config, *config_numbers.problems(config)]
    shards, index_weights, of_shards = _shards(folder)
    entries, of_headers = _entries(shards)
    problems += of_shards + of_headers
    whole = not of_headers and bool(shards)
    if whole and index_weights is not None:
        problems += _against_index(entries, index_weights)
    if whole and architecture is not None:
        problems += _against_architecture(entries, architecture)
    stand_in, of_mark = _stand_in(folder)
    problems += of_mark
    if problems or architecture is None or config is None:
        raise _damaged(folder, problems, config)
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


def read_architecture(file: Path) -> tuple[Mapping[str, Any], Architecture]:
    """A config.json and what it describes, whether or not weights lie beside it.

    Raises:
        CheckpointError: there is none, or it describes another model.
    """
    config, problems = _read_object(file)
    architecture, of_config = (None, []) if config is None else parse(config)
    if config is None or architecture is None:
        raise _damaged(file.parent, problems + of_config, config)
    return config, architecture


def _damaged(folder: Path, problems: list[Message], config: dict[str, Any] | None) -> CheckpointError:
    head = (
        _("the checkpoint in {folder} has {count} problems:", folder=folder, count=len(problems))
        if len(problems) > 1
        else _("the checkpoint in {folder} has a problem:", folder=folder)
    )
    again = _("fetch the named files again into {folder}, or try --model-dir synthetic:tiny", folder=folder)
    model_type = config.get("model_type") if config is not None else None
    runs = model_type in (None, MODEL_TYPE) or (model_type == variants.PLUS and variants.refused(model_type) is None)
    if not runs:
        # Fetched again, they would be the same files of the same other model.
        again = _("--model-dir of a folder with {model} 4.1, or --model-dir synthetic:tiny", model=MODEL_TYPE)
    elif (folder / STAND_IN_FILE).exists():
        again = _("rm -r {folder}, then the same command: a stand-in is made again", folder=folder)
    return CheckpointError(lines(head, *problems, before="\n  - "), next=again)


def _read_object(path: Path) -> tuple[dict[str, Any] | None, list[Message]]:
    try:
        value = elsewhere.read_json(path, "JSON of a checkpoint")
    except FileNotFoundError:
        return None, [_("{name} is missing", name=path.name)]
    except OSError as error:
        return None, [_("{name} cannot be read: {reason}", name=path.name, reason=error.strerror)]
    except ValueError as error:
        problem = error.problem if isinstance(error, elsewhere.BadJsonError) else str(error)
        return None, [_("{name} is no JSON: {error}", name=path.name, error=problem)]
    if not isinstance(value, dict):
        return None, [_("{name} is no JSON object", name=path.name)]
    return value, []


def _stand_in(folder: Path) -> tuple[dict[str, Any] | None, list[Message]]:
    path = folder / STAND_IN_FILE
    return _read_object(path) if path.exists() else (None, [])


def _shards(folder: Path) -> tuple[list[Path], dict[str, Any] | None, list[Message]]:
    """The weight files that are there, the index where the weights are sharded, and what is missing."""
    if not (folder / INDEX_FILE).exists():
        single = folder / SINGLE_FILE
        if single.is_file():
            return [single], None, []
        others = sorted(path.name for path in (*folder.glob("*.safetensors"), *folder.glob("*.bin")))
        fields = {"single": SINGLE_FILE, "index": INDEX_FILE}
        if others:
            listed = ", ".join(others[:LISTED])
            return [], None, [_("no weights: neither {single} nor {index} ({names} is there)", names=listed, **fields)]
        return [], None, [_("no weights: neither {single} nor {index}", **fields)]
    index, problems = _read_object(folder / INDEX_FILE)
    if index is None:
        return [], None, problems
    weights = index.get("weight_map")
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights.values()):
        return [], None, [_("{file} has no weight_map from tensors to files", file=INDEX_FILE)]
    names = sorted(set(weights.values()))
    foreign = gate.shard_problems(names)
    if foreign:
        return [], None, problems + foreign
    shards = [folder / name for name in names if (folder / name).is_file()]
    problems += [_("shard {name} is missing", name=name) for name in names if not (folder / name).is_file()]
    if (folder / SINGLE_FILE).is_file() and names != [SINGLE_FILE]:
        # PreTrainedModel.from_pretrained takes the single file first: what is judged here would not be what is loaded.
        problems.append(
            _(
                "{single} lies beside the shards of {index}, and would be loaded alone: remove one",
                single=SINGLE_FILE,
                index=INDEX_FILE,
            )
        )
    return shards, index, problems


def _entries(shards: list[Path]) -> tuple[dict[str, tuple[Path, Entry]], list[Message]]:
    entries: dict[str, tuple[Path, Entry]] = {}
    problems: list[Message] = []
    for path in shards:
        try:
            header = read_header(path)
        except DamagedFileError as error:
            problems.append(_("{name}: {damage}", name=path.name, damage=error.what))
            continue
        except OSError as error:
            problems.append(_("{name} cannot be read: {reason}", name=path.name, reason=error.strerror))
            continue
        twice = sorted(set(header) & set(entries))
        if twice:
            others = ", ".join(sorted({entries[name][0].name for name in twice}))
            problems.append(
                _(
                    "{file} holds tensors that {others} holds too: {names}",
                    file=path.name,
                    others=others,
                    names=_names(twice),
                )
            )
        entries |= {name: (path, entry) for name, entry in header.items()}
    return entries, problems


def _against_index(entries: Mapping[str, tuple[Path, Entry]], index: Mapping[str, Any]) -> list[Message]:
    weights = index["weight_map"]
    problems = []
    elsewhere = sorted(name for name, (path, _) in entries.items() if name in weights and weights[name] != path.name)
    if elsewhere:
        problems.append(
            _("tensors lie in another shard than {index} says: {names}", index=INDEX_FILE, names=_names(elsewhere))
        )
    metadata = index.get("metadata")
    declared = metadata.get("total_size") if isinstance(metadata, dict) else None
    size = sum(entry.end - entry.begin for _, entry in entries.values())
    if declared is not None and declared != size:
        problems.append(
            _(
                "{index} declares total_size {declared:,}, the shards hold {size:,} bytes of tensors",
                index=INDEX_FILE,
                declared=declared,
                size=size,
            )
        )
    return problems


def _against_architecture(entries: Mapping[str, tuple[Path, Entry]], architecture: Architecture) -> list[Message]:
    expected = architecture.tensors()
    optional = {"language_model.lm_head.weight"} if architecture.text.tie_word_embeddings else set()
    problems = []
    missing = sorted(set(expected) - set(entries))
    if missing:
        problems.append(
            _(
                "{missing} of {count} tensors missing: {names}",
                missing=len(missing),
                count=len(expected),
                names=_names(missing),
            )
        )
    unexpected = sorted(set(entries) - set(expected) - optional)
    if unexpected:
        problems.append(
            _(
                "{count} tensors that this config does not have: {names}",
                count=len(unexpected),
                names=_names(unexpected),
            )
        )
    wrong = sorted(name for name, shape in expected.items() if name in entries and entries[name][1].shape != shape)
    for name in wrong[:LISTED]:
        problems.append(
            _(
                "{name} is {shape}, config.json implies {implied}",
                name=name,
                shape=_size(entries[name][1].shape),
                implied=_size(expected[name]),
            )
        )
    if len(wrong) > LISTED:
        problems.append(
            _("{count} more tensors have another shape than config.json implies", count=len(wrong) - LISTED)
        )
    return problems + _dtypes(entries)


def _dtypes(entries: Mapping[str, tuple[Path, Entry]]) -> list[Message]:
    counters = {name for name in entries if name.endswith("num_batches_tracked")}
    problems = []
    integers = sorted(name for name in counters if entries[name][1].dtype != "I64")
    if integers:
        problems.append(_("int64 expected: {names}", names=_names(integers)))
    floats = {name: entry.dtype for name, (_, entry) in entries.items() if name not in counters}
    foreign = sorted(name for name, dtype in floats.items() if dtype not in FLOAT_DTYPES)
    if foreign:
        kinds = ", ".join(sorted({floats[name] for name in foreign}))
        problems.append(
            _(
                "tensors of {kinds}, where {known} are known: {names}",
                kinds=kinds,
                known=", ".join(FLOAT_DTYPES),
                names=_names(foreign),
            )
        )
    counts = Counter(dtype for dtype in floats.values() if dtype in FLOAT_DTYPES)
    if len(counts) > 1:
        rare = min(counts, key=lambda dtype: (counts[dtype], dtype))
        spread = ", ".join(f"{count} {DTYPE_NAMES[dtype]}" for dtype, count in counts.most_common())
        names = sorted(name for name, dtype in floats.items() if dtype == rare)
        problems.append(_("mixed dtypes ({spread}): {names}", spread=spread, names=_names(names)))
    return problems


def _names(names: list[str]) -> str:
    listed = ", ".join(names[:LISTED])
    more = len(names) - LISTED
    return _("{names}, and {more} more", names=listed, more=more) if more > 0 else listed


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
    # The time of change too: rsync --inplace --times and touch -r put other bytes under the old size, time and inode.
    key = f"{path.resolve()}:{state.st_size}:{state.st_mtime_ns}:{state.st_ctime_ns}:{state.st_ino}"
    known: dict[str, str] = {}
    if cache is not None:
        with contextlib.suppress(OSError, ValueError, TypeError):
            known = dict(json.loads(cache.read_text(encoding="utf-8")))
        if key in known:
            return known[key]
    computed = digest.file_sha256(path)
    if cache is not None:
        with contextlib.suppress(StorageError):  # a digest that cannot be kept is computed again
            write_json(cache, {**known, key: computed})
    return computed
