"""The one gate through which a checkpoint folder reaches the library: nothing in it is ever executed.

A folder can carry Python in more than one way, and `trust_remote_code=False` does not stop all of them: transformers
4.57.6 executes `custom_generate/generate.py` of a local folder in `from_pretrained` without asking
(modeling_utils.py, `load_custom_generate`; generation/utils.py, `resolve_trust_remote_code` with `has_local_code`). So
a folder that could is refused by name before the library sees it, the library is told to trust nothing, and what it
made is looked at afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from env import elsewhere
from env.errors import CheckpointError
from env.language import Message, _
from env.options import NAME_MAX

CODE_SUFFIXES = (".py", ".pyc", ".pyd", ".pyx", ".so")
CODE_FOLDER = "custom_generate"
WEIGHTS_SUFFIX = ".safetensors"
# Keys by which a JSON file names code to import: auto_map and custom_pipelines name files or repositories. The ways of
# decoding are no longer the library's: transformers 4.57.6 fetches transformers-community/contrastive-search, /dola,
# /group-beam-search and /constrained-beam-search from a hub and executes them, as soon as its question on standard
# input is answered with y (generation/utils.py, GENERATION_MODES_MAPPING and resolve_trust_remote_code).
CODE_KEYS = ("auto_map", "custom_generate", "custom_pipelines")
HUB_DECODING_KEYS = ("penalty_alpha", "dola_layers", "num_beam_groups", "constraints", "force_words_ids")
# Keys by which a JSON file sends the library to other files than the ones that are looked at here: to other weights
# (modeling_utils.py, transformers_explicit_filename), another config.json (configuration_utils.py, get_config_dict),
# another tokenizer.json (tokenization_utils_base.py: what tokenizer_config.json names comes before what lies in the
# folder), another model, through no gate (processing_utils.py, audio_tokenizer_class.from_pretrained).
ELSEWHERE_KEYS = (
    "transformers_weights",
    "configuration_files",
    "fast_tokenizer_files",
    "tokenizer_file",
    "vocab_file",
    "merges_file",
    "audio_tokenizer",
    "audio_tokenizer_name_or_path",
)
# With peft installed the library takes the model that it names in place of the folder's (auto_factory.py,
# find_adapter_config_file), and changes it.
ADAPTER_FILE = "adapter_config.json"
# An attention implementation with a slash is a kernel that transformers fetches from a hub and loads.
KERNEL_KEYS = ("_attn_implementation", "attn_implementation", "_attn_implementation_internal")
LARGE_TABLES = ("tokenizer.json", "vocab.json", "model.safetensors.index.json")  # no configuration, and megabytes
DEPTH = 20  # of nested JSON that is looked into; the library's own configurations nest four deep
LISTED = 5
LIBRARY = "transformers."


def code_in(folder: Path) -> list[Message]:
    """Everything in a checkpoint folder that could make the library run code, each named."""
    problems = [_("{name} is code, which no checkpoint needs", name=name) for name in sorted(_code_files(folder))]
    if os.path.lexists(folder / ADAPTER_FILE):
        problems.append(_("{name} names another model to be loaded in place of this one", name=ADAPTER_FILE))
    for path in sorted(folder.glob("*.json")):
        if path.name not in LARGE_TABLES and path.is_file():
            problems += _code_keys(path)
    more = [_("and {n} more", n=len(problems) - LISTED)] if len(problems) > LISTED else []
    return [*problems[:LISTED], *more]


def shard_problems(names: list[str]) -> list[Message]:
    """What is wrong with the names of weight files in an index: each is a plain name of a safetensors file."""
    problems: list[Message] = []
    for name in names:
        if PurePosixPath(name).name != name or name in ("", ".", "..") or "\\" in name or "\0" in name:
            problems.append(_("shard {name} is outside the folder", name=repr(name)))
        elif len(name.encode(errors="replace")) > NAME_MAX:
            problems.append(_("shard {name}... is no name that a file may have", name=repr(name[:40])))
        elif not name.endswith(WEIGHTS_SUFFIX):
            problems.append(_("shard {name} is no safetensors file: pickled weights are never opened", name=name))
    return problems


def require_no_code(folder: Path) -> None:
    """Refuse a folder that could make the library run code.

    Raises:
        CheckpointError: everything that could is named.
    """
    problems = code_in(folder)
    if problems:
        raise CheckpointError(
            _("the checkpoint in {folder} could run code: {problems}", folder=str(folder), problems=problems),
            why=_("nothing of a checkpoint is executed: it could forge every result, and do anything else"),
            next=_("remove it, or fetch the published files anew: {folder}", folder=str(folder)),
        )


def load_model(folder: Path, **options: Any) -> tuple[Any, dict[str, Any]]:
    """The library's model and its loading info, from a folder without code.

    Raises:
        CheckpointError: the folder could run code, or did.
        OSError, ValueError: as `from_pretrained`.
    """
    require_no_code(folder)
    from transformers import AutoModelForSpeechSeq2Seq

    model, info = AutoModelForSpeechSeq2Seq.from_pretrained(
        folder,
        output_loading_info=True,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        **options,
    )
    require_library_code(folder, model)
    return model, info


def load_config(folder: Path) -> Any:
    """The model's configuration as the library reads it. Raises: as `load_model`."""
    require_no_code(folder)
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def load_generation_config(folder: Path) -> Any:
    """When the model stops and how it decodes. Raises: as `load_model`; OSError where the folder says nothing of it."""
    require_no_code(folder)
    from transformers import GenerationConfig

    return GenerationConfig.from_pretrained(folder, local_files_only=True)


def load_processor(folder: Path) -> Any:
    """The processor: front end, tokenizer, chat template. Raises: as `load_model`."""
    require_no_code(folder)
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    for part in (processor, getattr(processor, "tokenizer", None), getattr(processor, "audio_processor", None)):
        if part is not None:
            require_library_code(folder, part)
    return processor


def require_library_code(folder: Path, thing: Any) -> None:
    """Hold that what was loaded is the library's own: its class, and no method of it or of its modules replaced.

    Raises:
        CheckpointError: something else came in, by whatever way.
    """
    modules = getattr(thing, "modules", None)
    for part in modules() if callable(modules) else (thing,):
        kind = type(part)
        foreign = not kind.__module__.startswith((LIBRARY, "torch."))
        replaced = sorted(name for name, value in vars(part).items() if callable(value) and _is_method(kind, name))
        if foreign or replaced:
            raise CheckpointError(
                _(
                    "the checkpoint in {folder} brought code of its own: {what}",
                    folder=str(folder),
                    what=f"{kind.__module__}.{kind.__qualname__}" + "".join(f".{name}" for name in replaced),
                ),
                why=_("nothing of a checkpoint is executed: it could forge every result, and do anything else"),
                next=_("remove it, or fetch the published files anew: {folder}", folder=str(folder)),
            )


def _is_method(kind: type, name: str) -> bool:
    return callable(getattr(kind, name, None)) and not isinstance(getattr(kind, name, None), type)


def _code_files(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder):  # links to folders are not followed: only their names count
        inside = Path(root).relative_to(folder)
        yield from ((inside / name).as_posix() for name in files if name.endswith(CODE_SUFFIXES))
        yield from ((inside / name).as_posix() + "/" for name in folders if name == CODE_FOLDER)


def _code_keys(path: Path) -> list[Message]:
    try:
        text = elsewhere.read_text(path, "JSON of a checkpoint")
        value = elsewhere.parse_json(text, constant=float)
    except (elsewhere.RefusedFileError, elsewhere.BeyondLimitsError) as error:
        why = error.problem if isinstance(error, elsewhere.BeyondLimitsError) else error.strerror
        return [_("{name} is not read: {reason}", name=path.name, reason=why)]  # the library would read it
    except (OSError, ValueError):
        return []  # what cannot be read is told by whoever needs it; the library reads it the same way
    return [
        _("{name}: {key} names other files than the folder's own", name=path.name, key=key)
        if key in ELSEWHERE_KEYS
        else _("{name}: {key} names code", name=path.name, key=key)
        for key in dict.fromkeys(_keys(value, DEPTH))
    ]


def _keys(value: object, depth: int) -> Iterator[str]:
    """The keys that name code, anywhere in the nesting; "..." where it is deeper than anything legitimate."""
    if isinstance(value, (Mapping, list)) and depth == 0:
        yield "..."
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if _names_code(key, inner):
                yield key
            else:
                yield from _keys(inner, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner, depth - 1)


def _names_code(key: object, value: object) -> bool:
    """Whether a key with its value makes the library look for code, or for files that nobody looked at."""
    if key in KERNEL_KEYS:  # one for the whole model, or one for each of its parts
        return any(
            isinstance(one, str) and "/" in one for one in (value.values() if isinstance(value, dict) else (value,))
        )
    if key == "num_beam_groups":
        return value not in (None, 1)
    return key in (*CODE_KEYS, *HUB_DECODING_KEYS, *ELSEWHERE_KEYS) and bool(value)
