# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
r"""DP-SGD (Abadi et al., CCS 2016, arXiv 1607.00133): steps that no single patient changes by much.

A step takes each of a site's N patients with chance q, independently (Poisson sampling), and of each one slice, drawn
at random. With the gradient :math:`g_i` of the loss of patient i's slice over *all* trained parameters, the clipping
norm C and the noise multiplier σ, the optimizer is given

.. math:: \frac{1}{qN} \Big( \sum_i g_i \min(1, C / \|g_i\|) + \mathcal N(0, \sigma^2 C^2 I) \Big).

Clipping, the accountant, the choice of σ and the check of networks are Opacus'. Its hooks, which find the gradients of
the samples of a batch in one pass, are not used: they take the first axis of every layer's input for samples, and give
gradients of coils in place of slices where a network folds the coils into it (as finding sensitivities does). Here a
sample goes through the network alone, which is right for any network without memory of other samples, takes one
gradient's memory, and on a CPU 0.7 to 1.4 times the time of a batch.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from flare_mri.config.training import TrainingSettings
from flare_mri.errors import InputError
from flare_mri.extras import import_extra
from flare_mri.training.privacy_ledger import PrivacyLedger, Spending
from flare_mri.training.task import Task, check_trains, on_device

_WANTED = "dp_noise_multiplier or dp_epsilon of the job"
_DRAWS = 4  # whose mean, unlike one draw, does not tell its value by the gaps of floating-point numbers


class PrivateSteps:
    """A site's steps of DP-SGD in one run of a job, each round paid from the site's ledger before it begins.

    Whom a step takes, which slice, how it is transformed and the noise come from a generator that the operating system
    seeds: all else of a round follows from the job's seed, which the server knows, and noise that it could draw again
    would hide nothing.

    Args:
        settings: of the job, which trains privately.
        task: of the site.
        epochs: of a round.
        rounds: of the job, for which `dp_epsilon` must do.
        ledger: of the site.
        run: id of the run.
        job: name of the job.

    Attributes:
        rate: q, the site's `batch_size` over its patients (or slices), at most 1.
        steps: of an epoch: as many as of training without privacy.
        noise_multiplier: σ.

    Raises:
        InputError: no training slice, slices as the unit where a sample is more than one, or no noise that does for
            `dp_epsilon`.
        MissingExtraError: Opacus is not installed.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        task: Task,
        epochs: int,
        rounds: int,
        ledger: PrivacyLedger,
        run: str,
        job: str,
    ):
        slices = check_trains(task)
        self.settings, self.task, self.ledger, self._epochs = settings, task, ledger, epochs
        self._units = self._find_units()
        self.rate = min(1.0, task.batch_size / len(self._units))
        self.steps = max(1, slices // task.batch_size)
        self.noise_multiplier = settings.dp_noise_multiplier or self._choose_noise(epochs * self.steps * max(1, rounds))
        self._round = Spending(
            run=run,
            job=job,
            unit=settings.dp_unit,
            noise_multiplier=self.noise_multiplier,
            sample_rate=self.rate,
            steps=epochs * self.steps,
        )
        self._random = np.random.default_rng()

    def check(self, network: nn.Module) -> None:
        """See that a network can be trained privately, and that the first round can be paid.

        Raises:
            InputError: a layer of the network sees more than one sample or keeps statistics of them.
            BudgetSpentError: nothing is left for a round.
        """
        check_network(network, f"site {self.task.site}")
        self.ledger.check(self._round, self.settings.dp_epsilon, self.settings.dp_delta)

    def begin_round(self) -> None:
        """Pay for a round.

        Raises:
            BudgetSpentError: it costs more than is left.
        """
        self.ledger.charge(self._round, self.settings.dp_epsilon, self.settings.dp_delta)
        torch.manual_seed(int(self._random.integers(2**63)))  # of dropout and of losses that draw

    def metrics(self) -> dict[str, float]:
        """What the run has spent here so far, as it may leave the site."""
        delta = self.settings.dp_delta
        return {"privacy/epsilon": self.ledger.epsilon_of_run(self._round.run, delta), "privacy/delta": delta}

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        """The samples of each step of an epoch, as batches of one; a step may have none."""
        data, _ = self.task.private_data(int(self._random.integers(2**31)))
        for _ in range(self.steps):
            taken = np.flatnonzero(self._random.random(len(self._units)) < self.rate)
            places = [int(self._random.choice(self._units[unit])) for unit in taken]
            yield [default_collate([data[place]]) for place in places]

    def differentiate(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        samples: list[dict[str, Any]],
        loss_of: Callable[[nn.Module, dict[str, Any]], Tensor],
    ) -> Tensor:
        """Put the private gradient of a step into the parameters' `grad`.

        Args:
            network: in training mode, its gradients are none.
            optimizer: of its parameters; those that want no gradient get none.
            samples: of :meth:`batches`.
            loss_of: the loss of a batch, a scalar.

        Returns:
            Sum of the samples' losses over qN. It is not private and must not leave the site.
        """
        optimizers = import_extra("dp", "opacus.optimizers", _WANTED)
        expected = self.rate * len(self._units)
        clipping = optimizers.DPOptimizer(
            optimizer,
            noise_multiplier=self.noise_multiplier,
            max_grad_norm=self.settings.dp_max_grad_norm,
            expected_batch_size=expected,
        )
        total = torch.zeros((), device=self.task.device)
        for sample in samples:
            loss = loss_of(network, on_device(sample, self.task.device))
            loss.backward()
            total += loss.detach().nan_to_num(0, 0, 0)  # an overflow must not tell of a patient by an error either
            for parameter in clipping.params:
                found = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
                gradient = found.nan_to_num(0, 0, 0)
                parameter.grad_sample, parameter.grad = gradient[None], None
            clipping.clip_and_accumulate()
        for parameter in clipping.params:
            noise = self._draw_noise(parameter)
            clipped = parameter.summed_grad
            parameter.grad = (noise if clipped is None else clipped + noise) / expected
            del parameter.summed_grad
            if hasattr(parameter, "grad_sample"):
                del parameter.grad_sample
        return total / expected

    def _draw_noise(self, like: Tensor) -> Tensor:
        """Gaussian of σC: PyTorch's generator on a CPU, seeded by 32 bits, could be tried through by a server."""
        shape = tuple(like.shape)
        noise = sum(self._random.standard_normal(shape, np.float32) for _ in range(_DRAWS)) / _DRAWS**0.5
        scale = self.noise_multiplier * self.settings.dp_max_grad_norm
        return torch.as_tensor(noise).to(like) * scale

    def _find_units(self) -> list[list[int]]:
        """Places of the samples of each patient, or of each slice alone."""
        data, patients = self.task.private_data(0)
        count = len(data)  # type: ignore[arg-type]
        if self.settings.dp_unit == "slice":
            if not self.task.apart:
                raise InputError(
                    f"site {self.task.site}: dp_unit: expected patient, since a sample of this task is made of several "
                    "slices, got slice; set it"
                )
            return [[place] for place in range(count)]
        units: dict[str, list[int]] = {}
        for place, patient in enumerate(patients):
            units.setdefault(patient, []).append(place)
        return list(units.values())

    def _choose_noise(self, steps: int) -> float:
        """The least σ with which `dp_epsilon` does for all steps of the job."""
        assert self.settings.dp_epsilon is not None
        choose = import_extra("dp", "opacus.accountants.utils", _WANTED).get_noise_multiplier
        epsilon, delta = self.settings.dp_epsilon, self.settings.dp_delta
        known = {"target_epsilon": epsilon, "target_delta": delta, "sample_rate": self.rate, "steps": steps}
        try:
            return float(choose(**known, accountant="rdp", epsilon_tolerance=min(0.01, 0.01 * epsilon)))
        except ValueError as error:
            raise InputError(
                f"site {self.task.site}: dp_epsilon: expected one that some noise reaches in {steps} steps, got "
                f"{epsilon:g} at δ {delta:g}; raise it, or lower num_rounds"
            ) from error


def check_network(network: nn.Module, where: str) -> None:
    """Refuses a network in which samples meet, or that keeps statistics of them, by Opacus' validator.

    Args:
        network: with its layers, if not its weights.
        where: how the message begins.

    Raises:
        InputError: such a layer; the line says which.
    """
    validators = import_extra("dp", "opacus.validators", _WANTED).ModuleValidator.VALIDATORS
    for name, module in network.named_modules():
        refused = type(module) in validators and validators[type(module)](module)
        if refused or getattr(module, "running_mean", None) is not None:
            raise InputError(
                f"{where}: network: expected no layer that mixes or remembers patients, for differential privacy, "
                f"got {type(module).__name__} ({name}); give --norm group, or the network's own arguments for it"
            )
