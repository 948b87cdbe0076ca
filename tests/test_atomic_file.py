# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Files are complete or not there, whatever fails while they are written; no file is overwritten unasked."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from flare_mri.atomic_file import atomic_file, final_name, remove_unfinished, write_atomically
from flare_mri.errors import InputError

LEFT = ".a.json.0123abcd.tmp"
WRITER = """
import sys, time
from pathlib import Path
from flare_mri.atomic_file import atomic_file
with atomic_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("half", flush=True)
    time.sleep(60)
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_text_is_utf_8_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.json"
    write_atomically(path, "größer\n")
    assert path.read_bytes() == "größer\n".encode() and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("asked", "umask", "made"), [(0o666, 0o022, 0o644), (0o600, 0o022, 0o600), (0o666, 0o077, 0o600)]
)
def test_modes_are_as_asked_less_the_umask_also_of_a_file_that_was_there(
    tmp_path: Path, asked: int, umask: int, made: int
) -> None:
    path = tmp_path / "a.json"
    path.write_text("former")
    path.chmod(0o664)
    before = os.umask(umask)
    try:
        write_atomically(path, "new", mode=asked)
    finally:
        os.umask(before)
    assert mode(path) == made and path.read_text() == "new"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyError("x"), KeyboardInterrupt()])
def test_the_former_file_stays_where_the_block_raises(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.json"
    path.write_text("former")
    with pytest.raises(type(error)), atomic_file(path) as file:
        file.write(b"half")
        raise error
    assert path.read_text() == "former" and list(tmp_path.iterdir()) == [path]


def test_the_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "a.json", []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append((os.fstat(handle).st_size, path.exists())))
    write_atomically(path, "new")
    assert synced == [(3, False)]
    with atomic_file(path, sync=False) as file:
        file.write(b"newer")
    assert len(synced) == 1 and path.read_text() == "newer"


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"a\.json: cannot be written \(Not a directory\); choose a folder"):
        write_atomically(tmp_path / "file" / "folder" / "a.json", "")


def test_a_killed_process_leaves_what_the_next_write_removes(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("former")
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None and writer.stdout.readline() == b"half\n"
        assert path.read_text() == "former"
        write_atomically(path, "new")
        (left,) = set(tmp_path.iterdir()) - {path}
        assert left.read_text() == "half" and final_name(left.name) == "a.json", "of a process that lives"
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    assert path.read_text() == "new" and left.exists()
    write_atomically(path, "newer")
    assert path.read_text() == "newer" and list(tmp_path.iterdir()) == [path]


def test_no_other_file_is_taken_for_left_over(tmp_path: Path) -> None:
    others = [
        "a.json",
        ".b.json.0123abcd.tmp",
        ".a.json.tmp",
        ".a.json.0123abcd.tmp.gz",
        ".a.json.0123ABCD.tmp",
        ".nfs01",
    ]
    for name in (*others, LEFT):
        (tmp_path / name).write_text(name)
    (tmp_path / "target").write_text("precious")
    (tmp_path / ".a.json.ffffffff.tmp").symlink_to(tmp_path / "target")
    remove_unfinished(tmp_path, lambda name: name == "a.json")
    assert {path.name for path in tmp_path.iterdir()} == {*others, "target", ".a.json.ffffffff.tmp"}
    assert (tmp_path / "target").read_text() == "precious"


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.nii.gz"
    write_atomically(path, b"first", mode=0o600, replace=False)
    with pytest.raises(InputError, match="expected no such file, got one; nothing was overwritten"):
        write_atomically(path, b"second", replace=False)
    assert path.read_bytes() == b"first" and mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_there_is_kept_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")  # as on FAT

    monkeypatch.setattr(os, "link", link)
    test_a_file_that_is_there_is_kept(tmp_path)
