# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Contract of every method."""

import io
from pathlib import Path

import pytest
import torch

from flare_mri import methods
from flare_mri.config.training import TrainingSettings
from flare_mri.errors import InputError
from flare_mri.io.formats import RECONSTRUCTION, SEGMENTATION
from flare_mri.methods import METHODS, describe_methods, find_method, methods_of
from flare_mri.networks import SHARED_LAYERS
from tiny import RMSPROP, assert_equal, copied, learner_of, receivable


def test_every_file_with_a_method_is_registered() -> None:
    folder = Path(str(methods.__file__)).parent
    files = {path.stem for path in folder.glob("*.py") if "\nMETHOD = " in path.read_text()}
    assert files == set(methods._FILES) and len(files) == len(METHODS)


def test_the_first_of_a_task_is_its_system() -> None:
    assert next(iter(methods_of(RECONSTRUCTION))) == "FedMRI" and next(iter(methods_of(SEGMENTATION))) == "IOP-FL"


def test_options_are_of_one_method_alone() -> None:
    names = [name for method in METHODS.values() for name in method.options.model_fields]
    assert len(names) == len(set(names)) and not set(names) & set(TrainingSettings.model_fields)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_says_what_it_is(method: methods.Method) -> None:
    assert method.shared_layers in SHARED_LAYERS and method.tasks
    assert method.description.endswith(".") and method.result and method.result[0].islower()
    assert all(field.description for field in method.options.model_fields.values())
    assert all(f"| `{method.name}` |" in describe_methods(task) for task in method.tasks)


def test_a_method_that_is_none() -> None:
    with pytest.raises(InputError, match="method 'FedNone': expected one of FedMRI, "):
        find_method("FedNone")


@pytest.mark.parametrize("method", METHODS)
def test_a_new_process_every_round_changes_no_number(method: str) -> None:
    """Through the bytes of the site store, read with ``weights_only``."""
    always = learner_of(method, settings=RMSPROP)
    received = receivable(always)
    state = None
    for number in range(3):
        fresh = learner_of(method, settings=RMSPROP)
        if state is not None:
            fresh.restore(torch.load(io.BytesIO(state), weights_only=True), number - 1)
        assert fresh.train(copied(received), number).loss == always.train(copied(received), number).loss
        assert_equal(fresh.update(), always.update())
        assert_equal(fresh.network.state_dict(), always.network.state_dict())
        assert (fresh.hooks.personal() is None) == (always.hooks.personal() is None)
        assert_equal(fresh.hooks.personal() or {}, always.hooks.personal() or {})
        content = io.BytesIO()
        torch.save(fresh.private_state(), content)
        state = content.getvalue()


@pytest.mark.parametrize("method", [name for name in METHODS if name != "FedRep"])  # which refuses: test_fedrep.py
def test_with_nothing_shared_every_method_trains_alone(method: str) -> None:
    site, alone = learner_of(method, layers="none"), learner_of("local-only")
    for number in range(2):
        site.train({}, number)
        alone.train({}, number)
    assert site.update() == {}
    assert_equal(site.network.state_dict(), alone.network.state_dict())
