# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""To the network's slices and back."""

import numpy as np
import pytest

from flare_mri.datasets.grid import Grid


def grid(shape, matrix, fit="pad", kept=None, axis=0):
    return Grid(shape, (3.0, 0.5, 0.8), tuple(range(shape[0])) if kept is None else kept, matrix, fit, axis)


def central_label(shape, half=2):
    label = np.zeros(shape, np.uint8)
    middle = [size // 2 for size in shape[1:]]
    label[:, middle[0] - half : middle[0] + half + 1, middle[1] - half : middle[1] + half] = 1
    return label


def test_padding_is_centred(volume):
    fitted = grid(volume.shape, (24, 33)).images(volume)
    expected = np.pad(volume, [(0, 0), (2, 2), (4, 5)])
    np.testing.assert_array_equal(fitted, expected)
    assert fitted.dtype == np.float32


def test_cropping_is_centred(volume):
    np.testing.assert_array_equal(grid(volume.shape, (16, 17)).images(volume), volume[:, 2:18, 3:20])
    np.testing.assert_array_equal(grid(volume.shape, (16, 40)).images(volume)[:, :, 8:32], volume[:, 2:18])


@pytest.mark.parametrize("spatial_size", [(24, 33), (16, 17), (17, 40), (20, 24), (21, 25)])
@pytest.mark.parametrize("shape", [(3, 20, 24), (3, 21, 25)])
def test_to_native_undoes_padding_and_cropping(shape, matrix):
    label = central_label(shape)
    where = grid(shape, matrix)
    np.testing.assert_array_equal(where.to_native(where.labels(label, "case")), label)


def test_to_native_restores_slices_and_axes():
    label = central_label((2, 20, 24))
    where = grid((6, 20, 24), (32, 32), kept=(1, 4), axis=2)
    native = where.to_native(where.labels(label, "case"))
    assert native.shape == (20, 24, 6)
    assert np.flatnonzero(native.any((0, 1))).tolist() == [1, 4]
    np.testing.assert_array_equal(native[..., 4], label[1])


def test_label_at_the_border_is_never_cut(refused):
    label = central_label((3, 20, 24))
    label[1, 0, 5:8] = 1
    refused(lambda: grid(label.shape, (16, 24)).labels(label, "Case07"), "Case07", "[16, 24]", "3 labelled", "resize")


def test_resized_labels_keep_their_shape_and_every_slice():
    label = central_label((3, 40, 48), half=8)
    label[2] = 0
    label[2, 7, 9] = 1  # one pixel, too small for a grid half as fine
    where = grid(label.shape, (20, 24), "resize")
    fitted = where.labels(label, "case")
    assert fitted.shape == (3, 20, 24) and fitted.any((1, 2)).all() and set(np.unique(fitted)) == {0, 1}
    assert abs(fitted[0].sum() * 4 / label[0].sum() - 1) < 0.15
    assert fitted[2].sum() == 1 and fitted[2, 3, 4]
    back = where.to_native(fitted)
    assert 2 * np.count_nonzero(back[:2] & label[:2]) / (back[:2].sum() + label[:2].sum()) > 0.9


def test_resizing_images_keeps_a_linear_ramp():
    ramp = np.broadcast_to(np.arange(24.0)[None, None], (1, 20, 24))
    fitted = grid(ramp.shape, (40, 48), "resize").images(ramp)
    np.testing.assert_allclose(fitted[0, 10, 1:-1], (np.arange(48)[1:-1] + 0.5) / 2 - 0.5, atol=1e-5)


def test_spacing_of_the_networks_grid():
    assert grid((3, 20, 24), (40, 12)).network_spacing == (3.0, 0.5, 0.8)
    assert grid((3, 20, 24), (40, 12), "resize").network_spacing == pytest.approx((3.0, 0.25, 1.6))


def test_predictions_of_other_size_are_refused(refused):
    where = grid((6, 20, 24), (32, 32), kept=(1, 4))
    refused(lambda: where.to_native(np.zeros((3, 32, 32))), "[2, 32, 32]", "[3, 32, 32]", "all slices")
