# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The one exception a user's data or settings may cause."""

import re
import sys

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")  # line breaks among them
_LONGEST = 2000


class InputError(ValueError):
    """A mistake that a person can correct: a setting, a file, a folder, a message from a site.

    The message is one line that names the site, file or key, what was expected, what came and what to do. It may quote
    names and values from files that others wrote, so control characters become spaces, text that UTF-8 cannot hold is
    escaped, and the middle of a very long line is left out: nothing in a file can write a second line into a log.
    """

    def __init__(self, message: str):
        line = _CONTROL.sub(" ", message.encode("utf-8", "backslashreplace").decode())
        if len(line) > _LONGEST:
            line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
        super().__init__(line)


def fail(error: Exception) -> int:
    """Print the one line and give the exit status of a user's mistake."""
    print(f"error: {error}", file=sys.stderr)
    return 2
