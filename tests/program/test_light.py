# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Words are read and looked at before PyTorch, MONAI and FLARE are imported, which takes seconds."""

import inspect
import json
import subprocess
import sys

import pytest

from flare_mri.config.data import FORMATS_OF_FILES
from flare_mri.config.network import U_NET_DEFAULTS
from flare_mri.io.formats import FORMATS
from flare_mri.networks import UNet
from flare_mri.program.main import main

HEAVY = ("torch", "monai", "nvflare")
COMMANDS = (
    "site init",
    "site check",
    "train fedmri",
    "train iopfl",
    "train iopfl_outside",
    "statistics",
    "submit",
    "submit fedmri",
    "submit iopfl",
    "submit iopfl_outside",
    "submit site_statistics",
    "follow",
    "results",
    "segment",
    "reconstruct",
    "route",
    "export",
    "report",
    "compare",
)
WRONG = {
    "train fedmri --sites no": "--sites no: no <site>/site.yaml in it",
    "train fedmri --lr 7": "lr: expected a number > 0 and <= 1, got 7.0",
    "train iopfl --clients a,a": "comes twice",
    "train iopfl --workspace white\tspace": "FLARE's simulator takes no path with white space",
    "train iopfl --outside a --export": "--outside runs two jobs in the simulator",
    "train iopfl_outside --sites no": "--sites no: no outside-1/site.yaml in it",
    "statistics --sites no": "--sites no: no <site>/site.yaml in it",
    "site init no": "no: expected a folder of data",
    "site check no.yaml": "no.yaml: ",
    "site check tests": "tests/startup/fed_client.json: ",
    "submit no": "no: expected fedmri",
    "submit fedmri": "which sites?",
    "submit fedmri --clients a,a": "comes twice",
    "submit fedmri --clients a --lr 7": "lr: expected a number > 0 and <= 1, got 7.0",
    "submit fedmri --clients a --startup_kit no": "--startup_kit no: ",
    "follow JOB --startup_kit no": "--startup_kit no: ",
    "results JOB --out /": "--out /: expected a new or empty folder",
    "segment no --site no.yaml --out out": "no: no such file",
    "reconstruct pyproject.toml --site no.yaml --out out": "no.yaml: no such file",
    "route no --site no.yaml --out out": "no: no such file",
    "export no --site no.yaml --out out": "no: no such file",
    "report no.json": "no.json: no such file",
    "compare no.json": "no.json: no such file",
    "segment pyproject.toml --site pyproject.toml --scans no --out out": "--scans: ",
}
_RUN = """
import contextlib, io, json, sys
from flare_mri.program.main import main
told = {}
for words in json.load(sys.stdin):
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        try:
            status = main(words.split(' '))
        except SystemExit as ended:
            status = ended.code
    told[words] = [status, err.getvalue(), [name for name in %r if name in sys.modules]]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told() -> dict[str, tuple[int, str, list[str]]]:
    """Status, stderr and what was imported of every command's help, of a misspelt option and of wrong words.

    One process does them one after the other: what any of them imports shows there and in all that follow.
    """
    words = [f"{command} {option}" for command in COMMANDS for option in ("--help", "--helq")] + list(WRONG)
    done = subprocess.run(
        [sys.executable, "-c", _RUN % (HEAVY,)], input=json.dumps(words), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_a_misspelt_option_import_nothing_heavy(command: str, told: dict) -> None:
    assert told[f"{command} --help"] == [0, "", []]
    status, err, imported = told[f"{command} --helq"]
    assert (status, imported) == (2, []) and err.endswith("got --helq, which is none; did you mean --help?\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize("words, problem", WRONG.items())
def test_what_is_not_there_is_told_before_anything_heavy_is_imported(words: str, problem: str, told: dict) -> None:
    status, err, imported = told[words]
    assert (status, imported) == (2, []) and problem in err and err.count("\n") == 1


def test_what_help_says_without_them_is_what_they_have() -> None:
    parameters = inspect.signature(UNet).parameters
    assert {name: parameters[name].default for name in U_NET_DEFAULTS} == U_NET_DEFAULTS
    assert tuple(name for name, entry in FORMATS.items() if entry.write_sample is not None) == FORMATS_OF_FILES


def test_options_are_taken_with_dashes_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", "no", "--site", "no.yaml", "--out", "out", "--dicom-node=http://pacs"]) == 2
    assert capsys.readouterr().err.startswith("error: no: no such file")


@pytest.mark.parametrize(
    "words, told",
    [
        (["train", "fedmri", "--rounds", "2"], "did you mean --lr_rounds or --num_rounds?"),
        (["train", "fedmri", "--num_round", "2"], ""),
        (["segment", "model"], "the following arguments are required: --site, --out"),
    ],
)
def test_a_wrong_option_costs_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words, *([] if told else ["--channels", "x"])])
    err = capsys.readouterr().err
    assert ended.value.code == 2 and told in err and err.count("\n") == 1
