from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
import torch

from env.errors import CheckpointError, OutOfMemoryError, UsageError
from model import captions, checkpoint, decoding, prompts, transcribe
from model.alignment import Word
from model.audio import AudioFile
from model.decoding import CtcReader, Decoded, Decoding, Transcriber

if TYPE_CHECKING:
    from model.audio import Samples
    from model.components import Loaded

pytestmark = pytest.mark.slow  # importing the model class takes ten seconds

PROMPT = prompts.build()
Speech = tuple["Loaded", Any]


def noise(seconds: float, seed: int = 0) -> Samples:
    return (0.1 * np.random.default_rng(seed).standard_normal(int(seconds * 16_000))).astype(np.float32)


WINDOWS = [noise(seconds, seed) for seed, seconds in enumerate((1.0, 2.5, 0.3, 4.4, 0.02))]


def texts(speech: Speech, batch_size: int, new_tokens: int = 16) -> list[Decoded]:
    return Transcriber(*speech, Decoding(new_tokens, batch_size=batch_size)).decode(WINDOWS, [PROMPT] * len(WINDOWS))


def test_text_is_what_the_librarys_own_generate_gives(speech: Speech) -> None:
    import torch

    loaded, processor = speech
    for window, decoded in zip(WINDOWS, texts(speech, 1), strict=True):
        text = "USER: <|audio|>can you transcribe the speech into a written format?\n ASSISTANT:"
        inputs = processor(text, torch.from_numpy(window), return_tensors="pt")
        output = loaded.model.generate(**inputs, max_new_tokens=16, do_sample=False)
        expected = processor.tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert decoded.text == expected.strip()


@pytest.mark.parametrize("batch_size", [2, 3, 5])
def test_unequal_clips_in_a_batch_say_what_they_say_alone(speech: Speech, batch_size: int) -> None:
    alone = texts(speech, 1)
    assert len({decoded.text for decoded in alone}) >= 4
    assert texts(speech, batch_size) == alone


def test_beam_search_is_the_librarys_own(speech: Speech) -> None:
    import torch

    loaded, processor = speech
    text = "USER: <|audio|>can you transcribe the speech into a written format?\n ASSISTANT:"
    inputs = processor(text, torch.from_numpy(WINDOWS[1]), return_tensors="pt")
    output = loaded.model.generate(**inputs, max_new_tokens=12, do_sample=False, num_beams=3)
    expected = processor.tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    reader = Transcriber(*speech, Decoding(12, num_beams=3, batch_size=2))
    found = reader.decode(WINDOWS[1:3], [PROMPT] * 2)
    assert found[0].text == expected.strip()
    assert reader.signature.method == "beam-3"


def test_a_limit_on_new_tokens_is_said_and_a_loop_is_stopped(speech: Speech) -> None:
    short = texts(speech, 1, new_tokens=4)
    assert all(d.notes == ("stopped at 4 new tokens, before the model's end of text",) for d in short)
    assert {d.ended for d in short} == {"limit"}
    loops = [d for d in texts(speech, 1, new_tokens=120) if d.ended == "loop"]
    assert loops  # random weights loop soon
    assert all(d.notes[0].startswith("repetition loop: ") for d in loops)
    assert all(d.tokens < 120 for d in loops)


def out_of_memory_above(rows: int, message: str, generate: Callable[..., Any]) -> Callable[..., Any]:
    def limited(**inputs: Any) -> Any:
        if len(inputs["inputs_embeds"]) > rows:
            raise RuntimeError(message)
        return generate(**inputs)

    return limited


@pytest.mark.parametrize(
    "message",
    [
        "NPU out of memory. Tried to allocate 20.00 MiB (NPU 0; 29.50 GiB total capacity)",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "[enforce fail at alloc_cpu.cpp:124] data. DefaultCPUAllocator: can't allocate memory: you tried to allocate 1",
    ],
)
def test_auto_halves_the_batch_until_it_fits_with_the_same_texts(
    speech: Speech, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = texts(speech, 1)
    monkeypatch.setattr(speech[0].model, "generate", out_of_memory_above(1, message, speech[0].model.generate))
    transcriber = Transcriber(*speech, Decoding(16, batch_size=None))
    assert transcriber.decode(WINDOWS, [PROMPT] * len(WINDOWS)) == expected
    assert transcriber.batch_size == 1


def test_out_of_memory_ends_the_run_where_a_size_was_asked_for_or_one_row_does_not_fit(
    speech: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = out_of_memory_above(0, "NPU out of memory. Tried to allocate 1 GiB", speech[0].model.generate)
    monkeypatch.setattr(speech[0].model, "generate", generate)
    for size in (None, 2):
        with pytest.raises(OutOfMemoryError, match="ran out of memory"):
            Transcriber(*speech, Decoding(16, batch_size=size)).decode(WINDOWS, [PROMPT] * len(WINDOWS))


def test_each_row_of_a_batch_has_its_own_budget_of_tokens(speech: Speech, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Decoding, "budget", lambda self, samples, times: 4 + samples // 16_000)
    reader = Transcriber(*speech, Decoding(99, batch_size=5))
    together = reader.decode(WINDOWS, [PROMPT] * len(WINDOWS))
    alone = [reader.decode([window], [PROMPT])[0] for window in WINDOWS]
    assert together == alone
    assert len({decoded.tokens for decoded in together if decoded.ended == "limit"}) >= 2


def test_words_get_their_times_where_they_are_asked_for(speech: Speech, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, tuple[int, ...]]] = []

    def align(text: str, spelled: Any) -> tuple[Word, ...]:
        seen.append((text, spelled.shape))
        return (Word(0.1, 0.2, text),)

    monkeypatch.setattr("model.alignment.align", align)
    plain = Transcriber(*speech, Decoding(8)).decode(WINDOWS[:1], [PROMPT])
    assert seen == []
    for reader in (Transcriber(*speech, Decoding(8), align=True), CtcReader(*speech, align=True)):
        (decoded,) = reader.decode(WINDOWS[:1], [PROMPT])
        assert decoded.words == (Word(0.1, 0.2, decoded.text),)
    assert seen[0][0] == plain[0].text
    assert seen[0][1][0] == 50  # frames of 20 ms in a second
    translation = prompts.build("translate", target="de")
    assert Transcriber(*speech, Decoding(8), align=True).decode(WINDOWS[:1], [translation])[0].words == ()


def test_more_positions_than_the_language_model_has_are_refused(speech: Speech) -> None:
    with pytest.raises(UsageError, match="with 4090 new tokens, exceed the 4096 of the language model"):
        Transcriber(*speech, Decoding(4090)).decode(WINDOWS[:1], [PROMPT])


@pytest.mark.parametrize("field", ["max_new_tokens", "num_beams", "batch_size"])
def test_a_decoding_option_below_one_is_refused(field: str) -> None:
    with pytest.raises(UsageError, match="must be at least 1"):
        Decoding(**{field: 0})


def test_ctc_reading_is_the_collapsed_argmax_of_the_head(speech: Speech, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    labels = [0, 104, 104, 0, 105, 105, 105, 0, 0, 105, 32, 228, 0]
    logits = torch.nn.functional.one_hot(torch.tensor([labels]), 256).float()
    monkeypatch.setattr("model.components.ctc_head", lambda model, encoded: logits)
    assert CtcReader(*speech).decode(WINDOWS[:1], [PROMPT]) == [Decoded("hii ä", 5)]


def test_ctc_reading_runs_the_encoder(speech: Speech) -> None:
    found = CtcReader(*speech).decode(WINDOWS[:2], [PROMPT] * 2)
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("preprocessor_config.json", "lacks preprocessor_config.json"),
        ("tokenizer_config.json", "lacks tokenizer_config.json"),
        ("tokenizer.json", "its processor cannot be loaded"),
        ("chat_template.jinja", "has no chat template"),
    ],
)
def test_a_checkpoint_without_a_file_of_its_processor_says_so(
    name: str, message: str, speech_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(speech_folder, tmp_path / "checkpoint")
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=message):
        decoding.load_processor(checkpoint.inspect(folder))


def test_processor_of_another_model_is_noticed(speech: Speech, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, processor = speech
    monkeypatch.setattr(processor.audio_processor, "projector_downsample_rate", 3)
    with pytest.raises(CheckpointError, match="its processor makes 20 audio tokens, its model 12"):
        Transcriber(loaded, processor, Decoding(4)).decode(WINDOWS[:1], [PROMPT])


def test_a_tokenizer_of_another_model_is_noticed_before_a_table_is_read_beyond_its_end(speech: Speech) -> None:
    loaded, processor = speech
    reader, known = Transcriber(loaded, processor, Decoding(4)), loaded.architecture.text.vocab_size
    reader._require_known(torch.tensor([[known - 1, loaded.model.config.audio_token_id]]))
    with pytest.raises(CheckpointError, match=f"its tokenizer makes token {known}, its model knows {known}"):
        reader._require_known(torch.tensor([[0, known]]))


def recording(folder: Path, name: str, samples: Samples) -> Path:
    soundfile.write(folder / name, samples, 16_000)
    return folder / name


def test_files_are_transcribed_in_order_and_a_bad_one_does_not_end_the_batch(speech: Speech, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    paths = [recording(tmp_path, "a.wav", noise(1.0)), tmp_path / "text.wav", recording(tmp_path, "b.flac", noise(5.0))]
    streamed: list[tuple[str, captions.Segment]] = []
    found = list(
        transcribe.transcribe_files(
            Transcriber(*speech, Decoding(8, batch_size=2)),
            paths,
            PROMPT,
            limit_seconds=2.0,
            on_segment=lambda path, segment: streamed.append((Path(path).name, segment)),
        )
    )
    assert [Path(transcript.path).name for transcript in found] == ["a.wav", "text.wav", "b.flac"]
    assert [transcript.error is None for transcript in found] == [True, False, True]
    assert len(found[2].segments) >= 3
    read = [segment.window for segment in found[2].segments if segment.window is not None]
    assert (read[0][0], read[-1][1]) == (0.0, 5.0)
    assert all(one[1] == other[0] for one, other in pairwise(read))
    assert [name for name, _ in streamed] == ["a.wav"] + ["b.flac"] * len(found[2].segments)
    assert found[0].provenance is not None
    assert found[0].provenance["rate"] == 16_000


def test_silent_windows_are_not_decoded(speech: Speech, tmp_path: Path) -> None:
    samples = np.concatenate([noise(2.0), np.zeros(6 * 16_000, np.float32), noise(2.0, 1)])
    found = next(
        transcribe.transcribe_files(
            Transcriber(*speech, Decoding(8)), [recording(tmp_path, "a.wav", samples)], PROMPT, limit_seconds=2.0
        )
    )
    silent = [segment for segment in found.segments if segment.ended is None]
    assert silent
    assert {segment.notes for segment in silent} == {("silent (its loudest at -inf dBFS): not decoded",)}
    assert all(segment.text == "" for segment in silent)
    assert found.segments[0].text


def test_damage_is_said_after_what_could_be_read(speech: Speech, tmp_path: Path) -> None:
    path = recording(tmp_path, "a.wav", noise(4.0))
    path.write_bytes(path.read_bytes()[: 3 * 32_000])
    found = next(transcribe.transcribe_files(Transcriber(*speech, Decoding(4)), [path], PROMPT, limit_seconds=2.0))
    assert len(found.segments) >= 2
    assert "is damaged or cut off" in (found.error or "")


def test_interruption_keeps_what_was_decoded(speech: Speech, tmp_path: Path) -> None:
    def interrupt(path: str, segment: captions.Segment) -> None:
        if segment.window is not None and segment.window[0] > 0:
            raise KeyboardInterrupt

    files = [recording(tmp_path, "a.wav", noise(6.0)), recording(tmp_path, "b.wav", noise(1.0))]
    stream = transcribe.transcribe_files(
        Transcriber(*speech, Decoding(4)), files, PROMPT, limit_seconds=2.0, on_segment=interrupt
    )
    kept = next(stream)
    assert (len(kept.segments), kept.error) == (2, transcribe.INTERRUPTED)
    with pytest.raises(KeyboardInterrupt):
        next(stream)


def test_a_long_recording_gives_the_same_text_for_every_batch_size(speech: Speech, tmp_path: Path) -> None:
    path = recording(tmp_path, "a.wav", noise(9.0))
    found = []
    for size in (1, 3):
        with AudioFile(path) as audio:
            reader = Transcriber(*speech, Decoding(8, batch_size=size))
            found.append(list(transcribe.segments(reader, audio, PROMPT, 2.0)))
    assert found[0] == found[1]
    assert len(found[0]) >= 5


def test_loop_notes_survive_into_the_segments(speech: Speech, tmp_path: Path) -> None:
    path = recording(tmp_path, "a.wav", WINDOWS[1])
    transcript = next(transcribe.transcribe_files(Transcriber(*speech, Decoding(120)), [path], PROMPT))
    assert any("repetition loop" in note for segment in transcript.segments for note in segment.notes)
    assert replace(transcript, segments=()).text == ""
