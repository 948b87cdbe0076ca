# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A DICOM node (PACS) that speaks DICOMweb: series are found, fetched and stored, by dicomweb-client."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pydicom

from flare_mri.errors import InputError
from flare_mri.extras import import_extra
from flare_mri.inference.dicom_source import RESEARCH
from flare_mri.io.dicom_file import MOST_SERIES

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_CONNECT, _ANSWER = 10, 300  # seconds
_FIX = "correct --dicom_node or ask who runs the node"


class DicomNode:
    """A node under its DICOMweb address; nothing is sent to any other.

    Name and password are those that ~/.netrc (or $NETRC) has for its host, certificates of a hospital's own authority
    those of $REQUESTS_CA_BUNDLE. Proxies are not used, and redirections not followed.

    Args:
        url: such as `https://pacs.hospital.org/dicom-web`.

    Raises:
        InputError: no such address, or dicomweb-client is not installed.
    """

    def __init__(self, url: str):
        web = import_extra("dicom", "dicomweb_client.web", "dicom_node")
        requests = import_extra("dicom", "requests", "dicom_node")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"dicom_node: expected an address such as https://pacs:8042/dicom-web, got {url}")
        if parts.username or parts.password:
            raise InputError(
                "dicom_node: expected an address without name and password, which others on this machine see, got "
                f"them; put them into ~/.netrc for {parts.hostname}"
            )
        self.url = url.rstrip("/")
        self._unreachable: type[Exception] = requests.exceptions.ConnectionError
        session = requests.Session()
        session.trust_env = False  # a proxy of the environment would see the images
        session.max_redirects = 0
        session.auth = requests.utils.get_netrc_auth(self.url)
        session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        self._client = web.DICOMwebClient(self.url, session=session, timeout=(_CONNECT, _ANSWER))
        self._client.set_http_retry_params(retry=False)  # else an answer of 503 costs minutes, and ends in no line

    def find_series(self, series: Iterable[str], study: str | None) -> dict[str, str]:
        """The study of each series, by the series' UID: of those named, or of all MR series of a study but our own.

        Raises:
            InputError: no UID, or none that the node has.
        """
        for uid in (*series, *([] if study is None else [study])):
            _check_uid(uid, "series, study", "correct it")
        found: dict[str, str] = {}
        for uid in series:
            rows = self._search({"SeriesInstanceUID": uid})
            if not rows:
                raise InputError(f"series {uid}: expected a series of {self.url}, which has none; correct the UID")
            found[uid] = str(rows[0].StudyInstanceUID)
        if study is not None:
            rows = self._search({"StudyInstanceUID": study, "Modality": "MR"})
            own = [row for row in rows if not str(row.get("SeriesDescription", "")).startswith(RESEARCH)]
            if not own:
                raise InputError(f"study {study}: expected MR series at {self.url}, got none; correct the UID")
            found |= {str(row.SeriesInstanceUID): study for row in own}
        return found

    def count_own(self, study: str) -> int:
        """How many series of a study this program made before."""
        rows = self._search({"StudyInstanceUID": study})
        return sum(str(row.get("SeriesDescription", "")).startswith(RESEARCH) for row in rows)

    def _search(self, filters: dict[str, str]) -> list[pydicom.Dataset]:
        with self._speaking("search"):
            fields = ["StudyInstanceUID", "SeriesInstanceUID", "SeriesDescription", "Modality"]
            rows = self._client.search_for_series(search_filters=filters, fields=fields)
            datasets = [pydicom.Dataset.from_json(row) for row in rows]
            for row in datasets:
                for uid in (row.StudyInstanceUID, row.SeriesInstanceUID):  # names of a folder, and parts of addresses
                    _check_uid(uid, f"dicom_node {self.url}", _FIX)
            # a node may leave out a filter that it does not know
            return [row for row in datasets if all(row.get(name) == value for name, value in filters.items())]

    def fetch(self, study: str, series: str, folder: Path) -> None:
        """Writes the files of a series into an empty folder, as they come.

        Raises:
            InputError: the node does not give it, gives another, or more than a series may hold.
        """
        total = number = 0
        with self._speaking(f"fetch of series {series}"):
            for number, image in enumerate(self._client.iter_series(study, series), 1):
                if image.get("SeriesInstanceUID") != series:
                    raise InputError(f"series {series}: expected its images, got another's from {self.url}; {_FIX}")
                path = folder / f"{number:05d}.dcm"
                image.save_as(path, enforce_file_format=True)
                total += path.stat().st_size
                if total > MOST_SERIES:
                    raise InputError(f"series {series}: expected at most {MOST_SERIES} bytes, got more; leave it out")
        if not number:
            raise InputError(f"series {series}: expected images from {self.url}, got none; {_FIX}")

    def store(self, files: Iterable[bytes], study: str) -> int:
        """Stores files as part of a study; returns their number.

        Raises:
            InputError: the node refuses one.
        """
        datasets = [pydicom.dcmread(BytesIO(content)) for content in files]
        with self._speaking("store"):
            answer = self._client.store_instances(datasets, study)
            refused = answer.get("FailedSOPSequence") or []
            if refused:
                reason = refused[0].get("FailureReason", "unknown")
                raise InputError(
                    f"dicom_node {self.url}: expected to store {len(datasets)} files, got {len(refused)} refused "
                    f"(reason {reason}); the files lie in --out"
                )
        return len(datasets)

    @contextmanager
    def _speaking(self, what: str) -> Iterator[None]:
        """Turns what goes wrong on the way to the node and back into one InputError."""
        try:
            yield
        except InputError:
            raise
        # HTTP, JSON and DICOM that are broken raise nearly every exception; to the reader all mean the same.
        except Exception as error:
            response: Any = getattr(error, "response", None)
            status = None if response is None else response.status_code
            got = f"{type(error).__name__}: {str(error)[:200]}" if status is None else f"status {status}"
            fix = _FIX
            if isinstance(error, ConnectionError | self._unreachable):
                got, fix = "none: nothing answers there", "correct --dicom_node, or see whether the node runs"
            elif status in (401, 403):
                fix = "correct name and password in ~/.netrc"
            elif status == 404 or isinstance(error, ValueError):  # as of JSON
                fix = "correct --dicom_node: the address of DICOMweb, of Orthanc with /dicom-web at its end"
            raise InputError(
                f"dicom_node {self.url}: {what}: expected an answer of DICOMweb, got {got}; {fix}"
            ) from error


def _check_uid(uid: object, where: str, fix: str) -> None:
    if not isinstance(uid, str) or not _UID.fullmatch(uid) or len(uid) > 64:
        raise InputError(f"{where}: expected a UID such as 1.2.840.99, got {str(uid)[:80]!r}; {fix}")
