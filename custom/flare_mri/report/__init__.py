# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""results.json and the self-contained report.html made from it.

Only the reading and writing of results is imported here: a server that saves results needs no matplotlib.
The page is made by :func:`flare_mri.report.html.write_report` or ``flare-mri report``.
"""

from flare_mri.config.results import validate_results
from flare_mri.report.results import load_results, merge_results, save_results, summary_table

__all__ = ["load_results", "merge_results", "save_results", "summary_table", "validate_results"]
