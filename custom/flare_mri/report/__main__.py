# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m flare_mri.report``, another name of ``flare-mri report``."""

from flare_mri.report.command import main

if __name__ == "__main__":
    raise SystemExit(main())
