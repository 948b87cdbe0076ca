# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""One process of a site's training: ``python -m flare_mri.parallel.worker PIPE``, started by FLARE's process alone.

Requests come by standard input, a job first, then rounds; answers go to the pipe. Where FLARE's process is gone the
input ends, and so does this process, whatever it is doing.
"""

import io
import os
import queue
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from flare_mri.config.site import SiteConfig, load_site_config, phantom_site_config
from flare_mri.errors import InputError
from flare_mri.parallel.local_job import PLAIN, Computing, LocalJob
from flare_mri.parallel.messages import read_message, write_message
from flare_mri.training import Learner, Task
from flare_mri.training.data_parallel import process_rank, synchronise_statistics

Requests = queue.SimpleQueue[Any]


def main() -> None:
    """Answer requests until the input ends."""
    requests, answers = Requests(), io.FileIO(int(sys.argv[1]), "w")
    threading.Thread(target=_receive, args=(requests,), daemon=True).start()
    try:
        job, task = _begin(_next(requests))
        write_message(answers, {"ready": True})
        while True:
            write_message(answers, _train(job, task, _next(requests)))
    except InputError as error:
        _fail(answers, str(error), foreseen=True)
    except Exception:
        _fail(answers, traceback.format_exc(), foreseen=False)


def _receive(requests: Requests) -> None:
    try:
        while (request := read_message(io.FileIO(0, closefd=False))) is not None:
            requests.put(request)
    except Exception as error:
        requests.put(error)
        return
    os._exit(0)


def _next(requests: Requests) -> dict[str, Any]:
    request = requests.get()
    if isinstance(request, Exception):
        raise request
    found: dict[str, Any] = request
    return found


def _fail(answers: io.FileIO, told: str, foreseen: bool) -> None:
    """Tell why, with the time, which all processes of a machine share: the first one to fail is the cause."""
    print(told, file=sys.stderr, flush=True)
    write_message(answers, {"error": told, "foreseen": foreseen, "at": time.monotonic()})
    os._exit(1)  # without the process group's farewell, which would wait for the others


def _begin(request: dict[str, Any]) -> tuple[LocalJob, Task]:
    """Meet the other processes, and read the site's data."""
    device = torch.device(request["device"])
    torch.set_num_threads(request["threads"])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"file://{request['meeting']}",
        rank=request["rank"],
        world_size=request["processes"],
    )
    job = LocalJob(**request["job"])
    task = job.build_task(_on_device(_config(request), request["device"]))
    _learner(job, task, PLAIN)  # what it refuses is found before the first round
    return job, task


def _config(request: dict[str, Any]) -> SiteConfig:
    if request["file"] is None:
        return phantom_site_config(request["site"])
    return load_site_config(Path(request["file"]), request["site"])


def _on_device(config: SiteConfig, device: str) -> SiteConfig:
    members = tuple(_on_device(member, device) for member in config.members)
    return config.model_copy(update={"device": device, "members": members})


def _learner(job: LocalJob, task: Task, computing: Computing) -> Learner:
    learner = job.build_learner(task, computing=computing)
    synchronise_statistics(learner.network)
    return learner


def _train(job: LocalJob, task: Task, request: dict[str, Any]) -> dict[str, Any]:
    """A round: the same state, message and order of slices in every process, another part of each batch."""
    learner, round_number = _learner(job, task, Computing(**request["computing"])), request["round"]
    learner.restore(request["state"], round_number)
    received = request["received"]
    learner.hooks.read_message(request["message"], received, learner)  # FLARE's process says what is left out
    report = learner.train(received, round_number)
    if process_rank():
        return {"done": True}
    return {
        "loss": report.loss,
        "slices": report.slices,
        "seconds": report.seconds,
        "update": learner.update(),
        "state": learner.private_state(),
    }


if __name__ == "__main__":
    main()
