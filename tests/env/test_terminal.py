"""What reaches the terminal is text alone; where nothing can be written, the ending is clear."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from env.atomic import replacing, write_text
from env.capture import capture
from env.errors import StorageError
from env.language import Message, translate
from env.stack import ROOT
from env.terminal import shown

ESCAPE = "\x1b]0;title\x07\x1b[2J\x9b31m\u202eabc\u2066\rerror: \x00"
STEERING = set("\x1b\x07\x9b\u202e\u2066\r\x00")


@given(st.text())
def test_what_is_shown_steers_nothing(text: str) -> None:
    assert not STEERING & set(shown(text))
    shown(text).encode()
    if text.isascii() and text.isprintable():
        assert shown(text) == text


@given(st.text())
def test_json_stays_the_same_value(text: str) -> None:
    printed = shown(json.dumps([text], ensure_ascii=False))
    assert json.loads(printed) == [text]


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_name_makes_no_line_of_its_own(language: str, kind: type) -> None:
    name = kind("x\n0 errors, 0 warnings\r\u2028")
    message = Message("unread: {line}\n  next: {next}", line=name, next=["a\nb"])
    lines = translate(message, language).split("\n")  # type: ignore[arg-type]
    assert lines == ["unread: x\\n0 errors, 0 warnings\\r\\u2028", "  next: a\\nb"]
    assert str(message).count("\n") == 3  # in JSON it stands as it came


def test_lines_of_a_message_stay_lines() -> None:
    inner = Message("two\nlines")
    assert translate(Message("{inner}", inner=inner)) == "two\nlines"


PROGRAM = (
    "import sys; from env.errors import run_main\n"
    f"def main():\n    print({ESCAPE!r} + 'dot \\u00b7 end'); print({ESCAPE!r}, file=sys.stderr); return 7\n"
    "run_main(main)"
)


def run(redirection: str, environ: Mapping[str, str] | None = None, program: str = PROGRAM) -> tuple[int, str, str]:
    done = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {redirection}', sys.executable, program],
        cwd=ROOT,
        env={**os.environ, "LANGUAGE": "en", **(environ or {})},
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def test_a_program_prints_no_escape() -> None:
    code, out, err = run("")
    assert code == 7
    assert not STEERING & set(out + err)
    assert "dot · end" in out


def test_ascii_output_fails_nothing() -> None:
    code, out, err = run("", {"PYTHONIOENCODING": "ascii"})
    assert (code, out[-11:], "Traceback" in err) == (7, "\\xb7 end\n"[-11:], False) or "dot \\xb7 end" in out
    assert code == 7


def test_closed_output_fails_nothing() -> None:
    assert run(">&- 2>&-") == (7, "", "")


def test_a_full_disk_behind_the_output_is_a_clear_error() -> None:
    code, _out, err = run("> /dev/full")
    assert code == StorageError.exit_code
    assert "error: cannot write what is to be printed: No space left on device" in err
    assert "Traceback" not in err
    assert run("> /dev/full 2> /dev/full") == (StorageError.exit_code, "", "")


def test_a_reader_that_leaves_is_no_failure() -> None:
    program = "from env.errors import run_main\nrun_main(lambda: [print('x' * 99) for _ in range(99999)] and 0)"
    code, out, err = run("| head -n 1; exit ${PIPESTATUS[0]}", program=program)
    assert (code, len(out), err) == (141, 100, "")


def test_special_files_are_written_into_and_never_replaced(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    write_text(link, "x")
    assert link.is_symlink()
    with pytest.raises(StorageError, match="No such device or address"):
        write_text(pipe, "x")
    for path in (link, pipe):
        with pytest.raises(StorageError, match="no regular file"), replacing(path):
            raise AssertionError("never entered")
        with pytest.raises(StorageError, match="no regular file"):
            capture(path, root=tmp_path, environ={}, sites=["/none"])
        assert not path.is_file()
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "text")
    assert os.read(reader, 100) == b"text"
    os.close(reader)


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "", "/"])
def test_an_output_that_no_file_can_be_is_refused(name: str) -> None:
    with pytest.raises(StorageError):
        write_text(Path(name), "x")
