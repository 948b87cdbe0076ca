# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The one exception a user's data or settings may cause."""


class InputError(ValueError):
    """Something a person can mend: a setting, a file, a folder, a message from a site.

    The message is one line that names the site, file or key, what was expected, what came and what to do.
    """
