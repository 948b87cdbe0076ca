# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a lead's commands do with what a server says; a whole consortium is in tests/deployments."""

import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.fuel.flare_api.api_spec import InternalError
from nvflare.fuel.hci.proto import ProtoKey

from flare_mri.errors import InputError
from flare_mri.flare.recipes.job import keep_former, results_path
from flare_mri.flare.session import check_archive, download_job, submit_job
from flare_mri.flare.watching import follow, tell_end
from flare_mri.program.completion import completion_script
from flare_mri.program.main import COMMANDS, main
from flare_mri.program.submit import check_present, sites_of

JOB = "0f1ec52a-5a6f-49f8-ba3e-56884cdb020d"


def archive_of(path: Path, name: str, content: bytes = b"1", mode: int = 0o100600) -> Path:
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    return path


def link(path: Path) -> Path:
    return archive_of(path, "link", b"/etc/passwd", 0o120777)


def bomb(path: Path) -> Path:
    content = archive_of(path, "a", b"0" * 1000).read_bytes()
    size = (1000).to_bytes(4, "little")
    assert content.count(size) >= 2
    path.write_bytes(content.replace(size, (2**31).to_bytes(4, "little")))
    return path


BAD_ARCHIVES = {
    "a path out": (lambda path: archive_of(path, "../out"), "holds '../out'"),
    "an absolute path": (lambda path: archive_of(path, "/out"), "holds '/out'"),
    "a link": (link, "no plain file"),
    "more than it can hold": (bomb, "which it cannot hold"),
    "no zip": (lambda path: path.write_bytes(b"PK") and path, "cannot be read"),
}


@pytest.mark.parametrize("name", BAD_ARCHIVES)
def test_a_bad_archive_is_refused_and_removed(name: str, tmp_path: Path) -> None:
    make, told = BAD_ARCHIVES[name]
    path = make(tmp_path / "workspace.zip")
    with pytest.raises(InputError, match=told):
        check_archive(path)
    assert not path.exists()


def test_a_good_archive_stays(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "workspace.zip", "app_server/model.pt")
    check_archive(path)
    assert path.exists()


class Server:
    """Names files, as FLARE's client asks for them one by one."""

    def __init__(self, folder: Path, name: str, archive: Path):
        self.api = SimpleNamespace(do_command=lambda command, props=None: {ProtoKey.APP_DATA: str(archive)})
        self.folder, self.name, self.asked = folder, name, 0

    def download_job_result(self, job: str, destination: str) -> str:
        self.api.do_command(f"pull_binary_file server tx ref {job} {self.name} end")
        self.asked += 1
        return f"{destination}/{job}"


@pytest.mark.parametrize("name", ["../../workspace.zip", "/tmp/workspace.zip", "..", "a\\\\b"])
def test_a_server_that_names_a_path_is_not_believed(name: str, tmp_path: Path) -> None:
    server: Any = Server(tmp_path, name, archive_of(tmp_path / "workspace.zip", "a"))
    with pytest.raises(InputError, match="which is none; do not trust it"):
        download_job(server, JOB, tmp_path)
    assert not server.asked


def test_archives_are_looked_at_before_they_are_unpacked(tmp_path: Path) -> None:
    good: Any = Server(tmp_path, "workspace.zip", archive_of(tmp_path / "good.zip", "results.json"))
    assert download_job(good, JOB, tmp_path) == tmp_path / JOB / "workspace"
    bad: Any = Server(tmp_path, "workspace.zip", archive_of(tmp_path / "bad.zip", "../results.json"))
    with pytest.raises(InputError, match="no plain file in a folder"):
        download_job(bad, JOB, tmp_path)


class Run:
    """A job whose state changes at every question; its third round has lost a site."""

    def __init__(self, *states: str):
        self.states = list(states)
        self.api = SimpleNamespace(do_command=None)

    def download_job_result(self, job: str, destination: str) -> str:
        raise InternalError("nothing to download")

    def get_job_meta(self, job: str) -> dict[str, Any]:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if state == "Ctrl-C":
            raise KeyboardInterrupt
        return {"job_id": job, "name": "fedmri", "status": state, "deploy_map": {"app": ["server", "a", "b"]}}

    def show_stats(self, job: str, target: str) -> dict[str, Any]:
        def row(number: int, *sites: str) -> dict[str, Any]:
            scores = {"train_loss": 0.5, "validation": {"psnr": 20.0 + number}}
            return {"round": number, "seconds": 1.0, "sites": dict.fromkeys(sites, scores)}

        rounds = [row(0, "a", "b"), row(1, "a", "b"), row(2, "a")]
        return {"server": {"flare_mri": {"num_rounds": 3, "rounds": rounds[: 4 - len(self.states)]}}}


def test_rounds_are_shown_once_and_a_lost_site_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    run: Any = Run("SUBMITTED", "RUNNING", "RUNNING", "RUNNING", "FINISHED:COMPLETED")
    assert tell_end(run, follow(run, JOB, every=0.001))
    told = capsys.readouterr().out
    assert [told.count(f"fedmri round  {number}/3") for number in (1, 2, 3)] == [1, 1, 1]
    assert "mean training loss 0.5000, validation PSNR 21.00 dB after round 2" in told
    assert "without b in round 3" in told and f"flare-mri results {JOB}" in told


def test_ctrl_c_ends_the_watching(capsys: pytest.CaptureFixture[str]) -> None:
    run: Any = Run("RUNNING", "Ctrl-C")
    with pytest.raises(KeyboardInterrupt):
        follow(run, JOB, every=0.001)


def test_what_is_no_job_or_kit_costs_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session: Any = None
    with pytest.raises(InputError, match="which holds meta.json"):
        submit_job(session, tmp_path)
    kit = ["--startup_kit", str(tmp_path / "kit")]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    for words, told in (
        (["submit", str(tmp_path), *kit], "expected a person's startup kit"),
        (["submit", "nothing", *kit], "expected fedmri, iopfl, iopfl_outside, site_statistics or the folder of a job"),
        (["submit", "fedmri", *kit], "which sites?"),
        (["submit", "iopfl", "--outside", "a", "--clients", "b", *kit], "--outside is for the simulator"),
        (["follow", JOB, "--every", "0", *kit], "expected seconds above 0"),
        (["results", JOB, "--out", str(tmp_path / "full"), *kit], "expected a new or empty folder"),
    ):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert told in error and error.count("\n") == 1


def test_a_run_of_the_same_name_replaces_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twice; a name that begins like the other's does not count."""
    for job, number in (("fedmri", 1), ("fedmri-2", 1), ("fedmri", 2)):
        assert keep_former(tmp_path, job) is None
        path = results_path(tmp_path, job)
        path.parent.mkdir(parents=True)
        path.write_text(f"{job} {number}")
        kept = keep_former(tmp_path, job)
        assert kept == tmp_path / "former" / f"{job}-{number}" and str(kept) in capsys.readouterr().out
    assert [(tmp_path / "former" / f"fedmri-{n}" / "results.json").read_text()[-1] for n in (1, 2)] == ["1", "2"]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_complete_commands_and_options(shell: str) -> None:
    pytest.importorskip("shtab")
    script = completion_script(shell)
    assert all(name in script for name in COMMANDS) and "--contrastive_weight" in script and "--against" in script


class Connected:
    """A session that says who is there."""

    def __init__(self, *names: str):
        self.names = names

    def get_connected_client_list(self) -> list[Any]:
        return [SimpleNamespace(name=name) for name in self.names]


def test_a_job_for_a_hospital_that_is_absent_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    session: Any = Connected("b", "a")
    check_present(session, ["a", "b"], False)
    check_present(session, [], False)
    with pytest.raises(InputError, match="not connected to the server: c, d; connected: a, b; .* give --absent_ok"):
        check_present(session, ["a", "c", "d"], False)
    assert capsys.readouterr().err == ""
    check_present(session, ["a", "c"], True)
    assert "not connected to the server: c; connected: a, b; the job waits" in capsys.readouterr().err


@pytest.mark.parametrize(
    "meta, sites",
    [
        ('{"deploy_map": {"app": ["server", "b", "a"]}}', ["a", "b"]),
        ('{"deploy_map": {"app": ["@ALL"]}}', []),
        ("[]", []),
    ],
)
def test_a_folder_names_its_hospitals(tmp_path: Path, meta: str, sites: list[str]) -> None:
    (tmp_path / "meta.json").write_text(meta)
    assert sites_of(tmp_path) == sites
