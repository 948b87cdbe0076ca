# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The program hands its words to the commands, and tells what they are."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from flare_mri.program import main as program
from flare_mri.program.main import COMMANDS, STOPPED, main


def test_help_tells_every_command_with_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0 and all(f"\n    {name}" in told and f"flare-mri {name}" in told for name in COMMANDS)
    assert all(f"\n  {code}" in told for code in ("0  ", "2  ", "3  ", "130  "))


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_its_module_s_own(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0 and told.startswith(f"usage: flare-mri {name} ")


@pytest.mark.parametrize("words", [[], ["nope"], ["--nope", "segment"], ["--", "segment"]])
def test_words_that_name_no_command_end_in_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2 and "flare-mri: error: " in capsys.readouterr().err


def test_a_wrong_input_is_one_line_and_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", str(tmp_path / "no"), "--site", "no.yaml", "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: ") and told.err.count("\n") == 1 and not told.out


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "run_command", stop)
    assert main(["segment"]) == STOPPED and capsys.readouterr().err == "stopped\n"


def test_the_module_is_the_program_and_starts_without_loading_networks() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "flare_mri", "--version"], capture_output=True, text=True, timeout=60
    )
    version = importlib.import_module("flare_mri").__version__
    assert done.returncode == 0 and done.stdout == f"flare-mri {version}\n"
    assert "torch" not in done.stderr


def test_a_former_form_says_what_it_is_called_now() -> None:
    """Python would run the module and end with 0, though nothing was done."""
    done = subprocess.run([sys.executable, "-m", "flare_mri.route"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "is called flare-mri route now" in done.stderr and done.stderr.count("\n") == 1


def test_a_misspelt_command_is_told_what_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["comprae"])
    assert "expected a command, got 'comprae'; did you mean compare?" in capsys.readouterr().err
