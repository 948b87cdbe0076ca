# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Imports of a process that FLARE starts for a job: MONAI without the packages that no job uses.

MONAI imports all of itself at once, and with it whatever it finds of the packages that parts of it can use. Of 4.1
seconds of processor time (2026-11-27) 1.7 are for ignite and mlflow and most of another 0.8 for matplotlib and
scikit-learn, in every process of every site. Jobs use none of the parts that need them: handlers, engines, plots.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

_UNUSED = ("ignite", "matplotlib", "mlflow", "sklearn")
_OF_FLARE = "nvflare.private.fed.app."


class _Hidden(MetaPathFinder):
    """Answers for packages as where they are not installed."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname.split(".")[0] in _UNUSED:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def is_job_process() -> bool:
    """Whether FLARE is the program of this process: it runs a job, and nothing of a person's own."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and spec.name.startswith(_OF_FLARE)


def import_monai() -> None:
    """Import MONAI as where the packages are not installed, in a job's process; afterwards they can be imported.

    Elsewhere, and where MONAI is imported already, this does nothing.
    """
    if "monai" in sys.modules or not is_job_process():
        return
    finder = _Hidden()
    sys.meta_path.insert(0, finder)
    try:
        import monai  # noqa: F401
    finally:
        sys.meta_path.remove(finder)
