"""The JSON Schema of a policy's `input`, from the pydantic model: a change of it shows in every policy's check."""

from typing import Any

from bridge.model.issuance import PolicyInput


def input_schema() -> dict[str, Any]:
    """As `opa check --schema` takes it.

    An absent value is an absent key, so the null branches go; with them `opa check` would let misspelt members pass.
    """
    schema: dict[str, Any] = without_null(PolicyInput.model_json_schema(mode="validation"))
    return schema


def without_null(node: Any) -> Any:
    """A schema in which nothing may be null."""
    if isinstance(node, list):
        return [without_null(item) for item in node]
    if not isinstance(node, dict):
        return node
    rest = {name: without_null(item) for name, item in node.items() if name not in ("anyOf", "default")}
    kept = [without_null(branch) for branch in node.get("anyOf", ()) if branch != {"type": "null"}]
    return {**rest, **kept[0]} if len(kept) == 1 else {**rest, **({"anyOf": kept} if kept else {})}
