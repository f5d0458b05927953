"""docs/ci: recipes whose commands are this bundle's, on the image and with the devices that the audit wants.

Their form is held by the tools of each (actionlint, check-jsonschema's schemas of both CIs, hadolint), which are in no
lock; here is held what those cannot know.
"""

from __future__ import annotations

import re
import shlex

import pytest

from env.options import main_job_parser
from env.stack import ROOT, load_stack
from verify.report.export.__main__ import make_parser

CI = ROOT / "docs" / "ci"
RECIPES = ("github-actions.yml", "gitlab-ci.yml", "Dockerfile")
COMMAND = re.compile(r"nox\"? -s ([\w ]+?) -- ([^\n`]+)")


def commands(name: str) -> list[tuple[list[str], list[str]]]:
    """Sessions and options of every nox call of a recipe."""
    text = (CI / name).read_text(encoding="utf-8")
    return [(sessions.split(), shlex.split(options)) for sessions, options in COMMAND.findall(text)]


@pytest.mark.parametrize("name", RECIPES)
def test_every_command_is_one_that_this_bundle_takes(name: str) -> None:
    listed = commands(name)
    assert ["setup", "verify", "report"] in [sessions for sessions, _ in listed]
    for sessions, options in listed:
        parser = make_parser() if sessions == ["export"] else main_job_parser("nox")
        parser.parse_args(options)


@pytest.mark.parametrize("name", ["github-actions.yml", "gitlab-ci.yml"])
def test_a_workflow_is_yaml_with_a_job_that_reports_after_a_failure_too(name: str) -> None:
    yaml = pytest.importorskip("yaml")
    recipe = yaml.safe_load((CI / name).read_text(encoding="utf-8"))
    assert "jobs" in recipe or "npu" in recipe
    assert "set_env.sh" in (CI / name).read_text(encoding="utf-8")
    if "jobs" in recipe:
        steps = recipe["jobs"]["verify"]["steps"]
        assert [step.get("if") for step in steps[-2:]] == ["always()", "always()"]
    else:
        assert recipe["npu"]["artifacts"]["when"] == "always"


def test_the_container_is_the_declared_cann_with_its_devices_and_no_root() -> None:
    text = (CI / "Dockerfile").read_text(encoding="utf-8")
    image = re.findall(r"^ARG CANN_IMAGE=\S+:(\S+)$", text, re.MULTILINE)[0]
    assert image.startswith(load_stack().cann_series)
    assert image.endswith(("py3.10", "py3.11"))
    for node in ("davinci0", "davinci_manager", "devmm_svm", "hisi_hdc"):
        assert f"--device /dev/{node} " in text
    users = re.findall(r"^USER (.+)$", text, re.MULTILINE)
    assert users == ["${USER_UID}:${NPU_GID}"]
