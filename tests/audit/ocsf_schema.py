"""The classes of OCSF 1.5.0 that an export uses, as JSON Schema: all required members, no unknown ones.

Written by hand from the schema at https://github.com/ocsf/ocsf-schema, branch v1.5.0 (events/, objects/, profiles/).
"""

from typing import Any

TEXT = {"type": "string"}
INTEGER = {"type": "integer"}


def _object(required: list[str], members: dict[str, Any], at_least_one: tuple[str, ...] = ()) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "required": required,
        "properties": members,
        "additionalProperties": False,
    }
    if at_least_one:
        schema["anyOf"] = [{"required": [name]} for name in at_least_one]
    return schema


def _one_of(*values: int) -> dict[str, Any]:
    return {"enum": list(values)}


_NAMED = ("name", "uid")
_PRODUCT = _object([], {"name": TEXT, "uid": TEXT, "vendor_name": TEXT, "version": TEXT, "feature": {}}, _NAMED)
_GROUP = _object([], {"name": TEXT, "uid": TEXT, "desc": TEXT, "domain": TEXT, "type": TEXT}, _NAMED)
_POLICY = _object(
    [],
    {"name": TEXT, "uid": TEXT, "desc": TEXT, "version": TEXT, "group": _GROUP, "is_applied": {}, "data": {}},
    _NAMED,
)
_AUTHORIZATION = _object([], {"decision": TEXT, "policy": _POLICY})
_METADATA = _object(
    ["product", "version"],
    {
        "product": _PRODUCT,
        "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+"},
        "uid": TEXT,
        "event_code": TEXT,
        "original_time": TEXT,
        "sequence": INTEGER,
        "log_name": TEXT,
        "log_provider": TEXT,
        "correlation_uid": TEXT,
        "profiles": {"type": "array", "items": {"enum": ["security_control"]}},
    },
)
_ACTOR = _object(
    [],
    {
        "app_uid": TEXT,
        "app_name": TEXT,
        "user": _object([], {"uid": TEXT, "name": TEXT}, _NAMED),
        "session": _object([], {"uid": TEXT}),
        "authorizations": {"type": "array", "items": _AUTHORIZATION},
    },
    ("user", "session", "app_name", "app_uid"),
)
_API = _object(
    ["operation"],
    {"operation": TEXT, "request": _object(["uid"], {"uid": TEXT}), "service": {}, "version": TEXT},
)
_ENDPOINT = _object([], {"svc_name": TEXT, "name": TEXT, "uid": TEXT}, ("svc_name", "name", "uid"))
_ENTITY = _object([], {"name": TEXT, "uid": TEXT, "type": TEXT, "type_id": _one_of(0, 1, 2, 3, 4, 5, 6, 7, 99)}, _NAMED)
_BASE_REQUIRED = ["activity_id", "category_uid", "class_uid", "type_uid", "time", "severity_id", "metadata"]
_BASE = {
    "activity_name": TEXT,
    "time": {"type": "integer", "minimum": 1_000_000_000_000},
    "severity_id": _one_of(0, 1, 2, 3, 4, 5, 6, 99),
    "metadata": _METADATA,
    "message": TEXT,
    "raw_data": TEXT,
    "unmapped": {"type": "object"},
    "status_id": _one_of(0, 1, 2, 99),
    "status": TEXT,
    "status_code": TEXT,
    # the profile security_control
    "action_id": _one_of(0, 1, 2, 3, 4, 99),
    "disposition_id": _one_of(*range(28), 99),
    "disposition": TEXT,
    "policy": _POLICY,
}


def _event(uid: int, activities: tuple[int, ...], required: list[str], members: dict[str, Any]) -> dict[str, Any]:
    identity = {
        "category_uid": {"const": uid // 1000},
        "class_uid": {"const": uid},
        "activity_id": _one_of(*activities),
        "type_uid": _one_of(*(uid * 100 + activity for activity in activities)),
    }
    return _object([*_BASE_REQUIRED, *required], {**_BASE, **identity, **members})


CLASSES: dict[int, dict[str, Any]] = {
    0: _event(0, (0, 99), [], {}),
    3004: _event(3004, (0, 1, 2, 3, 4, 99), ["entity"], {"entity": _ENTITY, "actor": _ACTOR}),
    6002: _event(6002, (0, 1, 2, 3, 4, 5, 6, 7, 8, 99), ["app"], {"app": _PRODUCT}),
    6003: _event(
        6003,
        (0, 1, 2, 3, 4, 99),
        ["actor", "api", "src_endpoint"],
        {"actor": _ACTOR, "api": _API, "src_endpoint": _ENDPOINT},
    ),
    6008: _event(6008, (0, 1, 2, 99), [], {}),
}
"""class_uid -> what its events look like."""
