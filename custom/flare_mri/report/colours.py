# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Colours of organs, in pictures and in DICOM, where no settings choose them; known without the packages that draw."""

from collections.abc import Mapping

TRUTH_COLOUR, PREDICTION_COLOUR = "#ffd60a", "#27d3ff"
ORGAN_COLOURS = ("#ffd60a", "#27d3ff", "#ff6b9d", "#7ae582", "#ff9f45", "#c29bff", "#f94144", "#ffffff")
"""Of several organs, each in one colour: told apart on grey and by readers who see few colours, the first ones best."""


def choose_colours(organs: Mapping[str, str]) -> dict[str, str]:
    """A colour for each of several organs: the given one, else the palette's at its place."""
    return {
        name: given or ORGAN_COLOURS[place % len(ORGAN_COLOURS)] for place, (name, given) in enumerate(organs.items())
    }
