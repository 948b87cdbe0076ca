# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m flare_mri``: the program ``flare-mri``, where its entry point is not installed."""

import sys

from flare_mri.program.main import main

if __name__ == "__main__":
    sys.exit(main())
