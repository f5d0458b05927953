"""A checkpoint's template and settings: their errors in words, and an end to what has none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jinja2
import pytest

from env.errors import CheckpointError, OutOfMemoryError
from env.language import _
from env.stack import ROOT
from model.library import own_errors, require_bounded

FOLDER = Path("granite-speech")


class PanicException(BaseException):
    pass


def raising(error: BaseException) -> None:
    with own_errors(FOLDER, _("decoding"), "generation_config.json"):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        jinja2.UndefinedError("'x' is undefined"),
        jinja2.TemplateSyntaxError("unexpected end", 1),
        jinja2.exceptions.SecurityError("access to attribute '__class__'"),
        ImportError("Please install optimum-quanto"),
        TypeError("'<' not supported"),
        ValueError("assistant_model is required\nand more"),
        RecursionError("maximum recursion depth exceeded"),
        KeyError("evil"),
        NotImplementedError(),
        PanicException("retry-limit-in-match over"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_library_raises_names_the_file_that_asked_for_it(error: BaseException) -> None:
    with pytest.raises(CheckpointError) as told:
        raising(error)
    assert f"granite-speech: decoding failed: {type(error).__name__}: " in told.value.what
    assert "\n" not in str(told.value.what)
    assert "generation_config.json" in str(told.value.why)


@pytest.mark.parametrize("error", [OutOfMemoryError("full"), RuntimeError("EL0005"), MemoryError(), SystemExit(3)])
def test_errors_of_the_bundle_of_memory_and_of_a_device_stay_what_they_are(error: BaseException) -> None:
    with pytest.raises(type(error)):
        raising(error)


@pytest.mark.parametrize(
    "template",
    [
        "{{ 9**9**9 }}",
        "{% set ns = namespace(x=9) %}{% for _ in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
        "{{ 'a' * messages | length }}",
        "{{ 2000000 * 3 }}",
        "{% if 1 %}\n{{ (1 + 1) * 2 }}{% endif %}",
    ],
)
def test_a_template_that_multiplies_what_may_have_any_size_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"line \d of the template multiplies by \*"):
        require_bounded(template)


@pytest.mark.parametrize(
    "template",
    ["{{ '=' * 40 }}", "{{ 2 * 1_000 }}", "3 * x ** y", "{# x ** y #}", "{% for m in messages %}{{ m }}{% endfor %}"],
)
def test_a_template_may_multiply_what_it_spells_out(template: str) -> None:
    require_bounded(template)


@pytest.mark.parametrize("work", ["while True: pass", "input()"])
def test_what_does_not_end_ends_the_program_with_an_error(work: str) -> None:
    program = (
        "from pathlib import Path\nfrom model.library import patience\nfrom env.language import _\n"
        f"with patience(Path('checkpoint'), _('preparing the prompt'), 'chat_template.jinja', 0.2):\n    {work}\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert child.wait(timeout=60) == CheckpointError.exit_code
        assert child.stderr is not None
        assert "checkpoint: preparing the prompt takes more than 0.2 s" in child.stderr.read()
    finally:
        child.kill()
        child.communicate()
