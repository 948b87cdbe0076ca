# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Folders that another user could have filled are not believed."""

import os
import stat
from pathlib import Path

import pytest

from flare_mri.errors import InputError
from flare_mri.folders import check_own_folder, private_folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_private_folder_is_made_with_all_above_it(tmp_path: Path) -> None:
    made = private_folder(tmp_path / "a" / "b", "store")
    assert mode(made) == mode(made.parent) == 0o700


def test_a_folder_that_others_may_read_is_closed(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o755)
    assert mode(private_folder(tmp_path / "store", "store")) == 0o700


@pytest.mark.parametrize("wide", [0o777, 0o770, 0o702])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, wide: int) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w").chmod(wide)
    with pytest.raises(InputError, match=f"workspace .*only its owner may write to, got mode {wide:o}"):
        check_own_folder(tmp_path / "w", "workspace")


def test_a_link_is_no_folder_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    with pytest.raises(InputError, match="got a link or a file"):
        private_folder(tmp_path / "link", "store")


def test_a_folder_that_anyone_may_replace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open" / "mine").mkdir(parents=True, mode=0o700)
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(InputError, match="in which others could put another in its place"):
        check_own_folder(tmp_path / "open" / "mine", "store")
    (tmp_path / "open").chmod(0o1777)  # as /tmp: only the owner of what is in it may move it
    check_own_folder(tmp_path / "open" / "mine", "store")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 12345, 12345)
    with pytest.raises(InputError, match="got one of user 12345, whose files would be run"):
        private_folder(tmp_path / "theirs", "workspace")
