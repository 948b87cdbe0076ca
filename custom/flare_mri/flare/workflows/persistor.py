# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The global shared part on the server: how it begins, and the file it is kept in."""

import io
from pathlib import Path
from typing import Any

import torch
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.model import ModelLearnable
from nvflare.app_common.abstract.model_persistor import ModelPersistor
from nvflare.app_common.app_constant import DefaultCheckpointFileName
from nvflare.app_opt.pt.model_persistence_format_manager import PTModelPersistenceFormatManager

from flare_mri.atomic_file import write_atomically
from flare_mri.bundle.weights import load_initial_weights
from flare_mri.networks import SharedPart, check_size


class SharedPartPersistor(ModelPersistor):
    """Begins with the network's own initial weights, and keeps the shared part in the run's folder.

    FLARE's ``PTFileModelPersistor`` instantiates whatever class a job's ``model`` names, and reads and writes where the
    job's ``environment.json`` says. This one takes a network's settings, of which
    :func:`flare_mri.networks.build_network` builds admitted networks only, and writes to no path of the job's. The file
    is FLARE's own: ``app_server/FL_global_model.pt``, a dict with ``model``, readable by
    ``torch.load(weights_only=True)``.

    Args:
        network: settings for :func:`flare_mri.networks.build_network`.
        shared_layers: what is shared, see :func:`flare_mri.networks.shared_keys`.
        seed: of the initial weights.
        initial_weights: path, on the server, of a file to begin with instead. A path in a job is the lead's to choose,
            what lies there must still be tensors of the shared part's names and shapes; empty: begin anew.

    Raises:
        InputError: a network that is not admitted or too large, or a shared_layers that does not fit it.
    """

    def __init__(
        self, network: dict[str, Any], shared_layers: str | list[str], seed: int = 0, initial_weights: str = ""
    ):
        super().__init__()
        self.network, self.shared_layers, self.seed = network, shared_layers, seed
        self.initial_weights = initial_weights
        check_size(network)
        self.model = SharedPart(network, shared_layers, seed)
        self._manager: PTModelPersistenceFormatManager | None = None

    def load_model(self, fl_ctx: FLContext) -> ModelLearnable:
        """The initial shared part.

        Raises:
            InputError: the file of initial weights is none, or not of this shared part.
        """
        if self.initial_weights:
            state = load_initial_weights(Path(self.initial_weights), self.model.state_dict())
            self.model.load_state_dict(state)
            self.log_info(fl_ctx, f"begins with the weights of {self.initial_weights}")
        return self._file_format().to_model_learnable(exclude_vars=None)

    def save_model(self, model: ModelLearnable, fl_ctx: FLContext) -> None:
        """Replace the file by this round's shared part.

        Raises:
            InputError: the run's folder cannot be written to.
        """
        self._file_format().update(model)
        content = io.BytesIO()
        torch.save(self._file_format().to_persistence_dict(), content)
        folder = Path(fl_ctx.get_prop(FLContextKey.APP_ROOT))
        write_atomically(folder / DefaultCheckpointFileName.GLOBAL_MODEL, content.getvalue())

    def _file_format(self) -> PTModelPersistenceFormatManager:
        if self._manager is None:
            self._manager = PTModelPersistenceFormatManager(self.model.state_dict(), allow_numpy_conversion=False)
        return self._manager
