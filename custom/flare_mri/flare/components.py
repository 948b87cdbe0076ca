# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The classes that a job may name, and nothing else: what a hospital and a server list in ``class_allow_list``.

FLARE builds any callable that it finds under a listed name with the arguments of the job. So the list holds exact
names, and this module, under which jobs name them, holds these classes alone: no function, no imported name.
"""

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

# FLARE exports a component under the module that its class names; the files above import much else.
for _name in __all__:
    globals()[_name].__module__ = __name__
del _name
