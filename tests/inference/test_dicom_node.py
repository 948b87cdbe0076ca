# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A series goes from a real node to the model, and the result back to the node."""

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest

from dicom_series import SERIES, SHAPE, STUDY, write_model, write_series
from flare_mri.errors import InputError
from flare_mri.inference.dicom_node import DicomNode
from flare_mri.program.main import main
from orthanc import Orthanc, running_orthanc, write_netrc

pytest.importorskip("highdicom", reason="the extra dicom is not installed")
pytest.importorskip("dicomweb_client", reason="the extra dicom is not installed")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("node")
    write_series(folder / "t2", SeriesDescription="T2 axial")
    with running_orthanc(folder / "orthanc") as found:
        found.send(folder / "t2")
        yield found


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A password, and a proxy that is not to be used; returns where the process's own folders are made."""
    write_netrc(tmp_path / "netrc")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def words(tmp_path: Path, command: str, node: Orthanc, *more: str) -> list[str]:
    task = {"segment": "segmentation", "reconstruct": "reconstruction"}[command]
    out = ["--out", str(tmp_path / f"out-{command}")]
    return [command, *write_model(tmp_path, task), "--dicom_node", node.url, *out, *more]


def test_a_series_is_segmented_and_the_result_stored(
    node: Orthanc, tmp_path: Path, private: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = node.series()
    assert main(words(tmp_path, "segment", node, "--series", SERIES)) == 0
    assert f"{SERIES}: 1 file stored at {node.url}" in capsys.readouterr().out
    (made,) = (one for uid, one in node.series().items() if uid not in before)
    assert made["Modality"] == "SEG" and made["SeriesDescription"].startswith("RESEARCH USE ONLY")
    (instance,) = made["Instances"]
    (tmp_path / "back.dcm").write_bytes(node.rest(f"/instances/{instance}/file"))
    found = pydicom.dcmread(tmp_path / "back.dcm")
    assert found.StudyInstanceUID == STUDY and found.ReferencedSeriesSequence[0].SeriesInstanceUID == SERIES
    nifti: Any = nibabel.load(tmp_path / "out-segment" / f"{SERIES}_segmentation.nii.gz")
    assert found.pixel_array.sum() == np.count_nonzero(nifti.dataobj) > 0
    assert list(private.iterdir()) == []
    assert main(words(tmp_path, "segment", node, "--series", SERIES)) == 2  # nothing is overwritten, or stored twice
    assert "expected a folder without results" in capsys.readouterr().err and len(node.series()) == len(before) + 1


def test_all_mr_series_of_a_study_are_reconstructed_once(
    node: Orthanc, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = node.series()
    assert main(words(tmp_path, "reconstruct", node, "--study", STUDY)) == 0
    assert "not stored, it was undersampled here" in capsys.readouterr().out and node.series() == before
    again = words(tmp_path, "reconstruct", node, "--study", STUDY, "--store_test")
    again[again.index("--out") + 1] += "-again"
    assert main(again) == 0
    (made,) = (one for uid, one in node.series().items() if uid not in before)
    assert made["Modality"] == "MR" and len(made["Instances"]) == SHAPE[0]
    assert DicomNode(node.url).find_series((), STUDY) == {SERIES: STUDY}  # what was made is no source
    printed = capsys.readouterr().out
    assert "1 scan at http" in printed and "stored at" in printed


def test_outlines_are_stored_beside_the_segmentation(node: Orthanc, tmp_path: Path) -> None:
    before = node.series()
    assert main(words(tmp_path, "segment", node, "--series", SERIES, "--overlay")) == 0
    made = {one["Modality"]: one for uid, one in node.series().items() if uid not in before}
    assert set(made) == {"SEG", "MR"} and len(made["MR"]["Instances"]) == SHAPE[0]
    (tmp_path / "back.dcm").write_bytes(node.rest(f"/instances/{made['MR']['Instances'][0]}/file"))
    found = pydicom.dcmread(tmp_path / "back.dcm")
    assert found.StudyInstanceUID == STUDY and found.SeriesDescription.startswith("RESEARCH USE ONLY: outlines of")
    assert found[0x6000, 0x1500].value == "liver" and found.overlay_array(0x6002).shape == SHAPE[1:]
    assert DicomNode(node.url).find_series((), STUDY) == {SERIES: STUDY}  # what was made is no source


def test_what_the_node_refuses_is_one_line(
    node: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*more: str) -> str:
        assert main(words(tmp_path, "segment", node, *more)) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
        return error

    assert "1.2.3: expected a series of" in told("--series", "1.2.3")
    assert "expected a UID such as" in told("--series", "../1.2.3")
    assert "expected --series or --study" in told()
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert "status 401" in told("--series", SERIES)


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A server of loopback; its address."""
    names = dict.fromkeys(("do_GET", "do_POST"), answer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answer", (BaseHTTPRequestHandler,), names))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_nothing_follows_a_redirection(tmp_path: Path) -> None:
    """Neither a question nor an image."""
    asked: list[str] = []
    content = write_series(tmp_path / "t2") and (tmp_path / "t2" / "1.dcm").read_bytes()

    def elsewhere(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        request.send_response(200)
        request.end_headers()

    with answering(elsewhere) as other:

        def redirect(request: BaseHTTPRequestHandler) -> None:
            request.rfile.read(int(request.headers.get("Content-Length") or 0))
            request.send_response(307)
            request.send_header("Location", f"{other}{request.path}")
            request.end_headers()

        with answering(redirect) as url:
            node = DicomNode(url)
            for call in (lambda: node.find_series([SERIES], None), lambda: node.store([content], STUDY)):
                with pytest.raises(InputError, match="got status 307; correct --dicom_node"):
                    call()
    assert asked == []


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("ftp://pacs/dicom-web", "expected an address such as"),
        ("http://me:secret@127.0.0.1:9/dicom-web", "put them into ~/.netrc"),
        ("http://127.0.0.1:9/dicom-web", "expected an answer of DICOMweb, got none: nothing answers there"),
    ],
)
def test_a_node_that_cannot_be_spoken_to(
    url: str, wanted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [*write_model(tmp_path, "segmentation"), "--dicom_node", url, "--series", SERIES, "--out", str(tmp_path)]
    assert main(["segment", *line]) == 2
    error = capsys.readouterr().err
    assert wanted in error and error.count("\n") == 1 and "secret" not in error
