# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Dice of two slices, with NumPy alone: a page of results is made without PyTorch."""

import numpy as np


def slice_dice(prediction: np.ndarray, truth: np.ndarray) -> float | None:
    """Mean Dice of two slices [H, W] of classes over those, without 0, that either marks; None where neither does."""
    labels = np.union1d(prediction[prediction > 0], truth[truth > 0])
    pairs = [(prediction == label, truth == label) for label in labels]
    values = [2 * np.logical_and(p, t).sum() / (p.sum() + t.sum()) for p, t in pairs]
    return float(np.mean(values)) if values else None
