# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Places of a site's own settings and private state."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from flare_mri.config.names import check_name
from flare_mri.config.site import SiteConfig, load_site_config, phantom_site_config
from flare_mri.deploy.policy import Policy, find_policy
from flare_mri.errors import InputError

CONFIG_VARIABLE = "FLARE_MRI_SITE_CONFIG"
STORE_VARIABLE = "FLARE_MRI_STORE"


@dataclass(frozen=True)
class Site:
    """A site's settings, the root of its store, its policy and, where it fell back on the phantom, where it looked.

    Attributes:
        config: the settings.
        store_root: folder of the site store.
        policy: what jobs it takes part in; None where it wrote none, which admits all that this package admits.
        looked: where no ``site.yaml`` was found; empty where there is one.
    """

    config: SiteConfig
    store_root: Path
    policy: Policy | None = None
    looked: tuple[Path, ...] = ()

    @property
    def notice(self) -> str:
        """One line, without a path, where the site uses the phantom."""
        return f"site {self.config.site}: no site.yaml: using the PHANTOM, not your data" if self.looked else ""


def open_site(name: str, workspace_root: Path, require_config: bool = False) -> Site:
    """Find a site's ``site.yaml`` and its store.

    The settings are looked for at ``$FLARE_MRI_SITE_CONFIG`` (``{SITE_NAME}`` in it stands for the site's name), then
    as ``local/<name>/site.yaml`` and ``local/site.yaml`` in the site's FLARE folder. A site that has none trains on
    its phantom, with a notice. Its policy is ``local/flare_mri.yaml``. The store is ``$FLARE_MRI_STORE``, else
    ``store`` of site.yaml, else ``site_store`` in the site's FLARE folder, which outlives FLARE's run folders.

    Args:
        name: the site's FLARE name.
        workspace_root: the site's FLARE folder.
        require_config: a site without ``site.yaml`` is an error.

    Raises:
        InputError: a name that could lead out of a folder, no settings where they are required, or wrong ones.
    """
    check_name("site", name)
    path, looked = _find(name, workspace_root)
    if path is not None:
        config = load_site_config(path, name)
    elif require_config:
        raise InputError(f"site {name}: no site.yaml; looked at {', '.join(map(str, looked))}; write one of them")
    else:
        config = phantom_site_config(name)
    root = os.environ.get(STORE_VARIABLE) or config.store or workspace_root / "site_store"
    policy = find_policy(workspace_root / "local", name)
    return Site(config, Path(root).expanduser(), policy, () if path else tuple(looked))


def use_threads(config: SiteConfig) -> None:
    """Have PyTorch compute with as many threads as site.yaml says, in the whole process; else as it would."""
    if config.compute_threads is not None:
        torch.set_num_threads(config.compute_threads)


def _find(name: str, workspace_root: Path) -> tuple[Path | None, list[Path]]:
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        path = Path(named.replace("{SITE_NAME}", name)).expanduser()
        if not path.is_file():
            raise InputError(f"site {name}: ${CONFIG_VARIABLE} names {path}, which is not there; correct or unset it")
        return path, [path]
    looked = [workspace_root / "local" / name / "site.yaml", workspace_root / "local" / "site.yaml"]
    return next((path for path in looked if path.is_file()), None), looked
