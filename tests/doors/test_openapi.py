"""The OpenAPI document: valid, whole, and true: schemathesis asks a running bridge what it allows, and what not."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from bridge.config.settings import load_settings
from bridge.doors._openapi import document as openapi_document
from bridge.doors.hooks.okta import PATH as OKTA
from bridge.doors.issued import PATH as ISSUED
from bridge.server import Bridge
from tests.support.bridge import PATH, RunningBridge, request, write_config

EXAMPLES = 150


@pytest.fixture(scope="module")
def document(bridge: RunningBridge) -> dict[str, Any]:
    found: dict[str, Any] = bridge.get("/openapi.json").json()
    return found


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


async def test_everything_that_is_served_is_in_it(document: dict[str, Any], tmp_path: Path) -> None:
    application = Bridge(load_settings(write_config(tmp_path))).application()
    served = {
        (route.resource.canonical, route.method.lower())
        for route in application.router.routes()
        if route.resource is not None and route.method != "HEAD"  # comes with every GET
    }
    described = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert served == described
    assert (PATH, "post") in served


def test_the_request_is_described_as_it_is_checked(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    asked = schemas["IssuanceRequest"]
    assert asked["additionalProperties"] is False
    assert set(asked["required"]) == {"grant_type", "client", "scopes"}
    assert asked["properties"].keys().isdisjoint({"id", "time", "door", "caller", "issuer", "scope", "sources"})


@pytest.mark.parametrize(
    ("scopes", "outcome"),
    [
        ([], "allow"),
        (["read", "write"], "allow"),
        (["pay", "sealed", "never"], "conditional"),
        (["issue:x"], "deny"),
        (["detailed"], "allow"),
    ],
)
def test_replies_are_as_described(
    bridge: RunningBridge, document: dict[str, Any], scopes: list[str], outcome: str
) -> None:
    schema = copy.deepcopy(document)
    schema["$ref"] = "#/components/schemas/DecisionReply"
    body = request(*scopes, audience=["https://pay.example"], grant_type="authorization_code")
    body["subject"] = {"type": "user", "id": "alice"}
    if "detailed" in scopes:
        body["authorization_details"] = [{"type": "payment"}]
    for client, expected in (("c", outcome), ("blocked", "deny")):
        reply = bridge.ask({**body, "client": {"id": client}})
        assert reply["outcome"] == expected
        jsonschema.Draft202012Validator(schema).validate(reply)
        assert reply.keys() <= schema["components"]["schemas"]["DecisionReply"]["properties"].keys()


def test_replies_to_reports_are_as_described(bridge: RunningBridge, document: dict[str, Any]) -> None:
    schema = copy.deepcopy(document)
    schema["$ref"] = "#/components/schemas/ReportedReply"
    decision_id = bridge.ask(request("read"))["decision_id"]
    body = {"decision_id": decision_id, "jti": "j", "exp": 1, "scopes": ["read"], "audience": []}
    for report, violations in ((body, []), (body, []), ({**body, "jti": "k"}, ["second_token"])):
        reply = bridge.client.post(ISSUED, json=report).json()
        assert reply["violations"] == violations
        jsonschema.Draft202012Validator(schema).validate(reply)
        assert reply.keys() <= schema["components"]["schemas"]["ReportedReply"]["properties"].keys()
    asked = document["components"]["schemas"]["IssuedReport"]
    assert asked["additionalProperties"] is False
    assert set(asked["required"]) == set(asked["properties"]) == body.keys()
    assert document["paths"][ISSUED]["post"]["responses"].keys() >= {"200", "400", "401", "403", "503"}


def test_the_document_served_is_the_one_tested_below(document: dict[str, Any]) -> None:
    assert document == json.loads(json.dumps(openapi_document()))


schema = schemathesis.openapi.from_dict(openapi_document())


BRIEFLY = "^/(hooks|v1/data|v1/lifecycle|v1/logout|v1/clients)/"
"""Bodies that the document leaves to their products, that are asked in full at another door, or that are rare."""
asking = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@schema.exclude(path_regex=BRIEFLY).parametrize()
@asking
def test_the_bridge_keeps_to_its_document(case: schemathesis.Case[Any], bridge: RunningBridge) -> None:
    # A schema cannot say it all: who needs a subject, that `type` in details is text, how long all scopes are together.
    case.call_and_validate(base_url=bridge.url, excluded_checks=[positive_data_acceptance])


@schema.include(path_regex=BRIEFLY).parametrize()
@settings(asking, max_examples=15)
def test_hooks_and_rare_orders_keep_to_it(case: schemathesis.Case[Any], bridge: RunningBridge) -> None:
    # Okta takes an HTTP error for a yes, so it is told of a bad body in a 200.
    told_in_a_200 = [negative_data_rejection] if case.operation.path == OKTA else []
    case.call_and_validate(base_url=bridge.url, excluded_checks=[positive_data_acceptance, *told_in_a_200])
