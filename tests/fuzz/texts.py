# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Text files: site.yaml, data lists and results.json."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from images import LABEL, VOLUME, nifti_bytes, pack, read_labelled
from mutators import Base, Case, Kind

from flare_mri.config.site import load_site_config
from flare_mri.report import load_results, summary_table
from flare_mri.report.html import write_report

SITE: dict[str, Any] = {
    "site": "site-1",
    "data": {
        "format": "nifti",
        "root": ".",
        "include": ["*.nii"],
        "slices": {"start": 1, "stop": 5, "step": 1},
        "slice_axis": 2,
        "spatial_size": [32, 32],
    },
    "split": {"train": 0.5, "validation": 0.25, "test": 0.25, "by": "volume"},
    "mask": {"kind": "equispaced", "acceleration": 4, "centre_fraction": 0.08, "seed": 1},
    "batch_size": 2,
    "device": "auto",
    "workers": 0,
    "cache": {"limit_mb": 64, "folder": "cache"},
    "store": "store",
}
PHANTOM = {
    "data": {"format": "phantom", "subjects": 2, "spatial_size": [32, 32]},
    "mask": {"kind": "file", "path": "m.npy"},
}
POOL = {"pooled_sites": ["site-1", "site-2"], "batch_size": 2, "device": "cpu", "store": None}


def _yaml(tree: Any) -> str:
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def yaml_files(folder: Path) -> tuple[list[Base], list[Case]]:
    """Settings of three kinds; what YAML can do beyond settings."""
    name = "site.yaml"
    bases = [Base(name, _yaml(tree).encode(), None, tree, _yaml) for tree in (SITE, PHANTOM, POOL)]
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    merges = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 60))
    texts = {
        "a billion laughs": laughs + "data: *a59\n",
        "a billion merges": merges + "data: *a59\n",
        "a list that holds itself": "data: &a [*a]\n",
        "deep lists": "data: " + "[" * 20000,
        "deep lists, closed": "data: " + "[" * 5000 + "]" * 5000,
        "deep mappings": "".join(" " * n + "a:\n" for n in range(300)) + "data: {",
        "64 KiB of dashes": "- " * 2**15,
        "too large": "# " + "x" * 2**20 + "\ndata: {format: phantom}",
        "Python objects": "data: !!python/object/apply:os.system ['true']",
        "a Python name": "data: !!python/name:os.system",
        "a date that is none": "data: {format: phantom}\nbatch_size: 2026-13-45",
        "a number that is none": "data: !!int x",
        "an empty number": "data: !!int ''",
        "a timestamp that is none": "data: !!timestamp x",
        "binary that is none": "data: !!binary '%%%'",
        "a set": "data: !!set {a, b}",
        "an ordered mapping": "data: !!omap [a]",
        "digits": f"batch_size: {'9' * 5000}",
        "hexadecimal digits": f"data: {{format: phantom}}\nbatch_size: 0x{'f' * 40000}",
        "a key of hexadecimal digits": f"0x{'f' * 40000}: 1",
        "sixty-fold digits": f"data: {{format: phantom}}\nbatch_size: {'1' + ':59' * 9000}",
        "keys that are no text": "data: {format: phantom}\n1: 2\n[a]: 3\n",
        "a null key": "data: {format: phantom}\n~: 2\n",
        "a long unknown key": f"data: {{format: phantom}}\n? {'batch_size' * 5000}\n: 4\n",
        "lines in a value": 'data: {format: "phan\\ntom\\e[2J"}',
        "lines in a key": 'data: {format: phantom}\n"a\\nb": 1',
        "half a character": 'data: {format: nifti, root: "\\ud800"}',
        "a nul in a path": 'data: {format: nifti, root: "a\\0b"}',
        "a path of 60,000 characters": f"data: {{format: nifti, root: {'x' * 60000}}}",
        "nobody's home": "data: {format: nifti, root: ~nobody-of-this-name/x}",
        "a pool of itself": "pooled_sites: [site.yaml]",
        "a pool of itself, twice": "pooled_sites: [./site.yaml, ../yaml/site.yaml]",
        "a pool of devices": "pooled_sites: [/dev/zero.yaml, ../../../../dev/stdin.yaml]",
        "two documents": "data: {format: phantom}\n---\ndata: {format: phantom}",
        "a byte order mark": "\ufeffdata: {format: phantom}",
        "tabs": "data:\n\tformat: phantom",
        "matrix of 10^9": "data: {format: phantom, spatial_size: [1000000000, 1000000000]}",
        "10^12 subjects": "data: {format: phantom, subjects: 1000000000000}",
    }
    hostile = [Case(name, text.encode("utf-8", "surrogatepass"), label) for label, text in texts.items()]
    return bases, [*hostile, Case(name, b"\xff\xfe\x00", "no UTF-8"), Case(name, b"", "nothing")]


def read_yaml(folder: Path) -> list[Any]:
    """The settings as text and numbers."""
    return [str(value) for value in load_site_config(folder / "site.yaml", "site-1").model_dump().values()]


ROW = {"image": "a.nii.gz", "label": "a_label.nii.gz"}


def datalist_files(folder: Path) -> tuple[list[Base], list[Case]]:
    """A list of three volumes; rows that lead out of the data root."""
    for name in ("a", "b", "c"):
        (folder / f"{name}.nii.gz").write_bytes(pack(nifti_bytes(VOLUME)))
        (folder / f"{name}_label.nii.gz").write_bytes(pack(nifti_bytes(LABEL)))
    outside = folder.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "secret.nii.gz").write_bytes(pack(nifti_bytes(VOLUME)))
    tree = {
        "name": "x",
        "training": [ROW],
        "validation": [{"image": "b.nii.gz", "label": "b_label.nii.gz"}],
        "test": [{"image": "./c.nii.gz", "label": "c_label.nii.gz"}],
    }
    secret = str(outside / "secret.nii.gz")
    names = (secret, "../outside/secret.nii.gz", "x/../../outside/secret.nii.gz", f"{folder}/../outside/secret.nii.gz")
    lists = {f"OUTSIDE: {name}": json.dumps({"test": [name]}) for name in names}
    lists |= {f"OUTSIDE: label {name}": json.dumps({"test": [{**ROW, "label": name}]}) for name in names[:2]}
    more = ("/dev/zero", "", ".", "..", "a.nii.gz/..", "\x00", "\ud800", "x" * 5000, "a\nb", "datalist.json", "~/x")
    lists |= {f"a row of {name[:20]!r}": json.dumps({"test": [name]}) for name in more}
    lists |= json_extremes(json.dumps(tree), '"x"')
    name = "datalist.json"
    hostile = [Case(name, text.encode("utf-8", "surrogatepass"), label) for label, text in lists.items()]
    return [Base(name, json.dumps(tree).encode(), None, tree, json.dumps)], hostile


def json_extremes(text: str, place: str) -> dict[str, str]:
    """The text with one value replaced by what JSON parsers stumble over."""
    values = {
        "100,000 open lists": "[" * 100_000,
        "deep lists": "[" * 50_000 + "]" * 50_000,
        "deep mappings": '{"a":' * 50_000,
        "5,000 digits": "9" * 5000,
        "400 digits": "9" * 400,
        "a number beyond float": "1e999",
        "not a number": "NaN",
        "half a character": '"\\ud800"',
        "a nul": '"\\u0000"',
        "control characters": '"a\\nb\\u001b[2J"',
        "20 MB of text": f'"{"x" * (20 * 2**20)}"',
    }
    return {label: text.replace(place, value, 1) for label, value in values.items()}


def _results() -> dict[str, Any]:
    score = {"psnr": 28.0, "ssim": 0.8, "nmse": 0.02}
    site = {
        "data": {"train": 10}, "test": score, "validation": score, "zero_filled": score, "note": "a note",
        "best": {"round": 1, "test": score, "validation": score}, "personal": {"test": score},
        "entropy": {"before": 0.5, "after": 0.4},
        "routing": {"experts": ["site-1", "global"], "layers": ["a", "b"], "weights": [[0.5, 0.5], [0.2, 0.8]]},
    }  # fmt: skip
    numbers = {"train_loss": 0.1, "seconds": 1.0, "bytes_sent": 2000, "bytes_received": 4000, "slices": 10}
    rounds = [{"round": r, "seconds": 2.0, "sites": {"site-1": {**numbers, "validation": score}}} for r in (0, 1)]
    method = {
        "job": "fedmri", "created": "2026-03-02T10:11:12+00:00", "seed": 7, "settings": {"rounds": 2, "x": [1, 2]},
        "seconds": 61.0, "sites": {"site-1": site, "site-2": {"test": score}}, "rounds": rounds,
    }  # fmt: skip
    methods = {"FedMRI": method, "FedAvg": {**method, "sites": {"site-1": {"test": score}}}}
    return {"format_version": 1, "versions": {"torch": "2.9.0"}, "methods": methods}


def results_files(folder: Path) -> tuple[list[Base], list[Case]]:
    """A record of two methods; the same extremes of JSON in four places."""
    tree, name = _results(), "results.json"
    text = json.dumps(tree)
    hostile = []
    for place in ("28.0", '"FedMRI"', '"a note"', "61.0"):
        for label, content in json_extremes(text, place).items():
            if "20 MB" not in label or place == "28.0":
                hostile.append(Case(name, content.encode("utf-8", "surrogatepass"), f"{label} for {place}"))
    hostile.append(Case(name, b" " * (2**26 + 1), "64 MiB of spaces"))
    return [Base(name, text.encode(), None, tree, json.dumps)], hostile


def results_reader(report_every: int) -> Callable[[Path], list[Any]]:
    """Reads results and makes the table; draws the report, which takes longer, for some."""
    calls = iter(range(10**9))

    def read(folder: Path) -> list[Any]:
        results = load_results(folder / "results.json")
        table = summary_table(results)
        if next(calls) % report_every:
            return [results if _small(results) else "large", table]
        page = write_report(results, {}, folder / "report.html").read_text(encoding="utf-8")
        return [table, page if "<script" not in page.lower() else {"a script": object()}]

    return read


def _small(results: dict[str, Any]) -> bool:
    return len(json.dumps(results)) < 2**20


TEXTS = [
    Kind("yaml", 160, yaml_files, read_yaml),
    Kind("datalist", 120, datalist_files, lambda folder: read_labelled(folder, "decathlon", "datalist.json")),
    Kind("results", 140, results_files, results_reader(24)),
]
