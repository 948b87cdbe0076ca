# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""One line, whatever a file's name or content puts into it."""

from flare_mri.errors import InputError


def test_nothing_in_a_message_begins_a_second_line():
    message = str(InputError("a\r\nb\x1b[2J\u2028c \ud800"))
    assert message == "a b [2J c \\ud800"


def test_a_long_message_keeps_its_beginning_and_its_end():
    message = str(InputError(f"site 'a': {'x' * 10**6}; correct it"))
    assert message.startswith("site 'a': x") and message.endswith("x; correct it") and len(message) < 2100
