"""lhotse's cuts as rows with NeMo's keys: a row for each supervision, with its place in the recording.

lhotse/cut/mono.py, lhotse/supervision.py: `start` of a supervision counts from the beginning of its cut. A cut that is
mixed of several, or whose audio lies elsewhere than in a file, cannot be read without lhotse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from env.language import _
from verify.speech.manifest_folders import Row, UnusableLineError

CUTS = ("MonoCut", "MultiCut", "MixedCut", "PaddingCut", "Cut")
NEARLY = 0.001  # seconds by which times of cuts differ by rounding


def is_cut(value: Mapping[str, Any]) -> bool:
    return value.get("type") in CUTS or (isinstance(value.get("recording"), Mapping) and "supervisions" in value)


def rows(line: int, cut: Mapping[str, Any], folder: Path) -> Iterator[Row]:
    """The rows of a cut, or why it has none."""
    try:
        for value in _values(cut):
            yield Row(line, value, folder)
    except UnusableLineError as error:
        yield Row(line, error, folder)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        reason = _("is a damaged cut: {error}", error=f"{type(error).__name__}: {error}")
        yield Row(line, UnusableLineError("syntax", reason), folder)


def _values(cut: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if cut.get("type") in ("MixedCut", "PaddingCut"):
        raise UnusableLineError("cut", _("is a {kind} of lhotse", kind=cut["type"]))
    recording = cut.get("recording")
    if recording is None:
        raise UnusableLineError("cut", _("is a cut without its recording"))
    begin = float(cut["start"])
    supervisions = cut.get("supervisions") or [{"start": 0.0, "duration": cut["duration"]}]
    for spoken in supervisions:
        start, seconds = begin + float(spoken["start"]), float(spoken["duration"])
        place, channel = _source(recording, spoken.get("channel", cut.get("channel")))
        value: dict[str, Any] = {"audio_filepath": place, "duration": seconds, "channel_selector": channel}
        if abs(start) > NEARLY or abs(seconds - float(recording["duration"])) > NEARLY:
            value["offset"] = round(start, 6)
        if spoken.get("text") is not None:
            value["text"] = spoken["text"]
        if spoken.get("language") is not None:
            value["lang"] = spoken["language"]
        yield value


def _source(recording: Mapping[str, Any], channel: Any) -> tuple[str, Any]:
    """The file that holds a channel, and its number in that file; None where it is the only one."""
    numbers = channel if isinstance(channel, list) else [] if channel is None else [channel]
    sources = [one for one in recording["sources"] if not numbers or set(numbers) <= set(one.get("channels", numbers))]
    if not sources:
        raise UnusableLineError("cut", _("its channels lie in several files"))
    source = sources[0]
    if source.get("type", "file") != "file":
        raise UnusableLineError("cut", _("its audio is of the type {kind}, not a file", kind=source["type"]))
    inside = source.get("channels", numbers)
    chosen = [inside.index(one) for one in numbers]
    return source["source"], chosen if len(inside) > 1 and chosen else None
