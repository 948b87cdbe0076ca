# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The simulator's workspace is a folder of one's own: FLARE runs what lies in it."""

import os
import tempfile
from pathlib import Path

import pytest

from flare_mri.config.where import default_workspace
from flare_mri.errors import InputError
from flare_mri.flare.recipes.simulate import own_workspace


def test_the_default_is_no_temp_folder() -> None:
    assert not default_workspace().is_relative_to(tempfile.gettempdir())
    assert default_workspace().is_relative_to(Path.home()) or "XDG_DATA_HOME" in os.environ


def test_a_new_workspace_is_closed_to_others(tmp_path: Path) -> None:
    own_workspace(tmp_path / "a" / "w", "fedmri")
    assert (tmp_path / "a" / "w").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("planted", ["w", "w/fedmri"])
def test_a_workspace_that_others_can_fill_is_refused(tmp_path: Path, planted: str) -> None:
    (tmp_path / "w").mkdir(mode=0o700)
    (tmp_path / planted).mkdir(exist_ok=True)
    (tmp_path / planted).chmod(0o777)
    with pytest.raises(InputError, match="only its owner may write to, got mode 777"):
        own_workspace(tmp_path / "w", "fedmri")


def test_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir(mode=0o700)
    (tmp_path / "w" / "fedmri").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="got a link or a file"):
        own_workspace(tmp_path / "w", "fedmri")
