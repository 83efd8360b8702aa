"""The steps of docs/authorization-servers.md: a wish makes its request, and its reply is minted."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from bridge import pep
from bridge.pep.batch import Batch, build
from bridge.pep.merge import merge
from bridge.pep.refuse import OAuthError
from bridge.pep.reply import read
from examples.token_service.local import ISSUER
from tests.docs.pages import DOCS, ROOT, blocks, section, table_names
from tests.support.bridge import RunningBridge, bearer, caller, running_bridge

PAGE = DOCS / "authorization-servers.md"
STEPS: dict[str, dict[str, str]] = {}
SAMPLES: list[str] = []
for block in blocks(PAGE):
    if words := block.marks.split():
        part, step, *marks = words
        STEPS.setdefault(step, {})[part] = block.text
        SAMPLES.extend([step] if marks == ["sample"] else [])


def batch_of(step: str) -> tuple[pep.Wish, Batch]:
    wish = eval(STEPS[step]["wish"], {name: getattr(pep, name) for name in pep.__all__})
    batch = build(wish)
    assert isinstance(batch, Batch)
    return wish, batch


@pytest.mark.parametrize("step", STEPS)
def test_the_wish_makes_the_request_and_the_reply_is_minted(step: str) -> None:
    wish, batch = batch_of(step)
    assert json.loads(batch.body) == json.loads(STEPS[step]["request"])
    mint = merge(wish, batch, read(STEPS[step]["reply"].encode(), batch), pep.Understood())
    assert mint == eval(STEPS[step]["mint"], {name: getattr(pep, name) for name in pep.__all__})


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    folder: Path = tmp_path_factory.mktemp("samples")
    with running_bridge(folder, ROOT / "rego", callers=[caller("as", issuer=ISSUER)]) as bridge:
        yield bridge


@pytest.mark.parametrize("step", SAMPLES)
def test_the_sample_policies_say_so(step: str, samples: RunningBridge) -> None:
    _, batch = batch_of(step)
    path = "/access/v1/evaluation" if batch.single else "/access/v1/evaluations"
    headers = {"Content-Type": "application/json", **bearer("as")}
    reply = samples.client.post(path, content=batch.body, headers=headers)
    assert reply.status_code == 200, reply.text
    assert _stable(reply.json()) == _stable(json.loads(STEPS[step]["reply"]))


def _stable(reply: Any) -> Any:
    return json.loads(re.sub(r'"decision_id": "[^"]+"', '"decision_id": ""', json.dumps(reply)))


def test_the_steps_are_there() -> None:
    assert len(STEPS) == 8 and len(SAMPLES) == 6
    assert all(parts.keys() == {"wish", "request", "reply", "mint"} for parts in STEPS.values())


def test_every_error_is_documented() -> None:
    assert table_names(section(PAGE, "## What the client is told")) == set(get_args(OAuthError))
