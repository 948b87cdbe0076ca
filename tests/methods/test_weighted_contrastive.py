# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from flare_mri.errors import InputError
from flare_mri.methods import weighted_contrastive as module
from flare_mri.methods.weighted_contrastive import WeightedContrastive

SHAPES = [(4, 3, 3, 3), (7,), (), (5, 11)]


def _tensors(rng, scale=1.0, dtype=torch.float32):
    return [torch.from_numpy(np.asarray(scale * rng.standard_normal(shape))).to(dtype) for shape in SHAPES]


def _case(negatives=3, dtype=torch.float32, seed=0):
    """Parameters with gradients, a reference near them and negatives farther away."""
    rng = np.random.default_rng(seed)
    parameters = [torch.nn.Parameter(tensor) for tensor in _tensors(rng, dtype=dtype)]
    for parameter in parameters:
        parameter.grad = torch.from_numpy(np.asarray(rng.standard_normal(parameter.shape))).to(dtype)

    def near(scale):
        return [p.detach() + t for p, t in zip(parameters, _tensors(rng, scale, dtype), strict=True)]

    return parameters, near(0.01), [near(0.1) for _ in range(negatives)]


def _numpy(tensors):
    return np.concatenate([np.asarray(t.detach().to(torch.float64).numpy()).reshape(-1) for t in tensors])


def _slow(parameters, reference, negatives, eps=1e-14):
    """Value and gradient as the paper writes them, in float64."""
    theta = _numpy(parameters)
    near = np.abs(theta - _numpy(reference)).sum()
    far = sum(np.abs(theta - _numpy(negative)).sum() for negative in negatives) + eps
    away = sum(np.sign(theta - _numpy(negative)) for negative in negatives)
    return near / far, (np.sign(theta - _numpy(reference)) * far - near * away) / far**2


@pytest.mark.parametrize("chunk", [1, 16, 2**19])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_value_and_gradient_equal_the_formula(monkeypatch, chunk, dtype):
    monkeypatch.setattr(module, "CPU_CHUNK", chunk)
    parameters, reference, negatives = _case(dtype=dtype)
    value, gradient = _slow(parameters, reference, negatives)
    before = _numpy([p.grad for p in parameters])
    term = WeightedContrastive(reference, negatives)
    assert float(term.value(parameters)) == pytest.approx(value, rel=1e-5)
    np.testing.assert_array_equal(_numpy([p.grad for p in parameters]), before)
    assert float(term.add_gradient_(parameters, weight=100.0)) == pytest.approx(value, rel=1e-5)
    after = _numpy([p.grad for p in parameters])
    np.testing.assert_allclose(after, before + 100.0 * gradient, rtol=1e-5, atol=1e-6)


def test_sums_over_many_entries_stay_exact():
    torch.manual_seed(1)
    theta = torch.nn.Parameter(torch.randn(1_000_000))
    reference, *negatives = ([theta.detach() + scale * torch.randn_like(theta)] for scale in (1e-3, 5e-3, 7e-3))
    value, gradient = _slow([theta], reference, negatives)
    result = WeightedContrastive(reference, negatives).add_gradient_([theta], 1.0)
    assert float(result) == pytest.approx(value, rel=1e-5)
    assert theta.grad is not None
    np.testing.assert_allclose(_numpy([theta.grad]), gradient, rtol=1e-5)


def test_gradient_equals_autograd():
    parameters, reference, negatives = _case(dtype=torch.float64)
    near = sum((p - g).abs().sum() for p, g in zip(parameters, reference, strict=True))
    far = sum((p - n).abs().sum() for negative in negatives for p, n in zip(parameters, negative, strict=True))
    expected = torch.autograd.grad(near / (far + 1e-14), parameters)
    for parameter in parameters:
        parameter.grad = None  # is made
    WeightedContrastive(reference, negatives).add_gradient_(parameters, 2.0)
    for parameter, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, 2.0 * gradient)


def test_at_the_global_encoder_the_value_and_the_gradient_are_zero():
    parameters, _, negatives = _case()
    before = _numpy([p.grad for p in parameters])
    term = WeightedContrastive([p.detach() for p in parameters], negatives)
    assert term.add_gradient_(parameters, 100.0) == 0
    np.testing.assert_array_equal(_numpy([p.grad for p in parameters]), before)


def test_one_site_alone_is_not_moved():
    """Its only negative is the global encoder itself: P / N = 1 everywhere, so the gradient is 0."""
    parameters, reference, _ = _case()
    before = _numpy([p.grad for p in parameters])
    assert float(WeightedContrastive(reference, [reference]).add_gradient_(parameters, 1.0)) == pytest.approx(1.0)
    np.testing.assert_allclose(_numpy([p.grad for p in parameters]), before, atol=1e-6)


def test_weight_zero_changes_nothing():
    parameters, reference, negatives = _case()
    before = _numpy([p.grad for p in parameters])
    WeightedContrastive(reference, negatives).add_gradient_(parameters, 0.0)
    np.testing.assert_array_equal(_numpy([p.grad for p in parameters]), before)


def test_a_later_change_of_the_reference_does_not_reach_the_term():
    parameters, _, negatives = _case()
    term = WeightedContrastive([p.detach() for p in parameters], negatives)  # aliases of the parameters
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.5)
    assert term.value(parameters) > 0


def test_channels_last_weights_and_many_compact_negatives():
    parameters, reference, negatives = _case(negatives=130)  # more signs than int8 holds
    negatives = [[t.bfloat16() for t in negative] for negative in negatives]
    value, gradient = _slow(parameters, reference, negatives)
    before = _numpy([p.grad for p in parameters])
    weight = parameters[0]
    weight.data, weight.grad = (t.to(memory_format=torch.channels_last) for t in (weight.data, weight.grad))
    assert not weight.grad.is_contiguous()
    assert float(WeightedContrastive(reference, negatives).add_gradient_(parameters, 10.0)) == pytest.approx(value)
    after = _numpy([p.grad for p in parameters])
    np.testing.assert_allclose(after, before + 10.0 * gradient, rtol=1e-5, atol=1e-6)


def test_not_a_number_shows_in_the_value():
    parameters, reference, negatives = _case()
    negatives[1][0][0] = float("nan")
    assert torch.isnan(WeightedContrastive(reference, negatives).value(parameters))


def test_what_cannot_be_compared_is_refused():
    parameters, reference, negatives = _case()
    with pytest.raises(InputError, match="at least one negative"):
        WeightedContrastive(reference, [])
    with pytest.raises(InputError, match="negative 1: expected the reference's shapes"):
        WeightedContrastive(reference, [negatives[0], negatives[1][:-1]])
    with pytest.raises(InputError, match="parameters: expected the reference's shapes"):
        WeightedContrastive(reference, negatives).value(parameters[::-1])
