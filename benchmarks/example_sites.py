# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The sites of the examples, for benchmarks that run without FLARE."""

import os
from pathlib import Path
from typing import Any

from flare_mri.config.site import SiteConfig, load_site_config

EXAMPLES = Path(__file__).parents[1] / "examples"


def open_example(name: str, site: str, **data: Any) -> SiteConfig:
    """A site of the examples, with other keys of `data`."""
    os.environ.setdefault("FLARE_MRI_DATA", str((EXAMPLES.parents[1] / "shared" / "data").absolute()))
    config = load_site_config(EXAMPLES / name / site / "site.yaml", site)
    return config.model_copy(update={"data": config.data.model_copy(update=data)})
