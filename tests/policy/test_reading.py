"""How a folder's files are read: what OPA would read otherwise, and what must not steer the reading."""

import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import PolicyRefused
from bridge.policy.load import load
from tests.policy.sets import GATE, write


def data_of(bundle: bytes) -> dict[str, Any]:
    """The data that the engine gets, without our index."""
    with tarfile.open(fileobj=io.BytesIO(bundle)) as archive:
        member = archive.extractfile("/data.json")
        assert member is not None
        data: dict[str, Any] = json.load(member)
    del data["issuance"]
    return data


def test_dates_in_yaml_stay_strings(opa: Path, tmp_path: Path) -> None:
    """A waiver's `expires` that became a timestamp, or was written anew, would be another date or none."""
    text = "day: 2027-01-02\ninstant: 2027-01-02T03:04:05Z\nspaced: 2027-01-02 03:04:05\n"
    policies = load(write(tmp_path, {**GATE, "data.yaml": text}), opa)
    expected = {"day": "2027-01-02", "instant": "2027-01-02T03:04:05Z", "spaced": "2027-01-02 03:04:05"}
    assert data_of(policies.bundle) == expected


def test_data_of_folders_stands_at_their_paths(opa: Path, tmp_path: Path) -> None:
    files = {"data.json": '{"top": 1}', "a/b/data.json": '{"json": 2}', "a/data.yaml": "yaml: [x]\n"}
    policies = load(write(tmp_path, {**GATE, **files}), opa)
    assert data_of(policies.bundle) == {"top": 1, "a": {"b": {"json": 2}, "yaml": ["x"]}}


def test_list_of_all_built_ins_in_the_folder_allows_none_of_them(opa: Path, tmp_path: Path) -> None:
    """OPA's whole list: with it `time.now_ns` is known, so only a list that is not read keeps it out."""
    every = subprocess.run([str(opa), "capabilities", "--current"], capture_output=True, check=True).stdout
    gate = "package issuance.gate\n\nallow if time.now_ns() > 0\n"
    with pytest.raises(PolicyRefused) as refused:
        load(write(tmp_path, {"gate.rego": gate, "capabilities.json": every}), opa)
    assert refused.value.reasons == ("gate.rego:3: rego_type_error: undefined function time.now_ns",)
