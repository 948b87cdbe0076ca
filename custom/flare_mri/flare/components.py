# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The classes that a job may name, and nothing else: what a hospital and a server list in ``class_allow_list``.

FLARE builds any callable that it finds under a listed name with the arguments of the job. So the list holds exact
names, and this module, under which jobs name them, holds these classes alone: no function, no imported name. A class is
imported when it is asked for, so that a process imports what its job names: statistics alone take two seconds.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flare_mri.flare.aggregators.partial import PartialAggregator
    from flare_mri.flare.executors.personalized import PersonalizedExecutor
    from flare_mri.flare.executors.routing import RoutingExecutor
    from flare_mri.flare.executors.statistics import StatisticsExecutor
    from flare_mri.flare.filters.shared_part_only import SharedPartOnly
    from flare_mri.flare.filters.update_privacy import UpdatePrivacy
    from flare_mri.flare.workflows.outside import RouteOutside
    from flare_mri.flare.workflows.persistor import SharedPartPersistor
    from flare_mri.flare.workflows.personalized_fedavg import PersonalizedFedAvg
    from flare_mri.flare.workflows.statistics import GatherStatistics

_FILES = {
    "GatherStatistics": "workflows.statistics",
    "PartialAggregator": "aggregators.partial",
    "PersonalizedExecutor": "executors.personalized",
    "PersonalizedFedAvg": "workflows.personalized_fedavg",
    "RouteOutside": "workflows.outside",
    "RoutingExecutor": "executors.routing",
    "SharedPartOnly": "filters.shared_part_only",
    "SharedPartPersistor": "workflows.persistor",
    "StatisticsExecutor": "executors.statistics",
    "UpdatePrivacy": "filters.update_privacy",
}

__all__ = [
    "GatherStatistics",
    "PartialAggregator",
    "PersonalizedExecutor",
    "PersonalizedFedAvg",
    "RouteOutside",
    "RoutingExecutor",
    "SharedPartOnly",
    "SharedPartPersistor",
    "StatisticsExecutor",
    "UpdatePrivacy",
]


def __getattr__(name: str) -> type:
    """A class of :data:`__all__`, when it is first asked for."""
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from flare_mri.flare.job_process import import_monai

    import_monai()
    found: type = getattr(import_module(f"flare_mri.flare.{_FILES[name]}"), name)
    found.__module__ = __name__  # FLARE exports a component under the module that its class names
    globals()[name] = found
    return found
