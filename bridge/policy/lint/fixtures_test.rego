package lint_test.fixtures

_scope := "package issuance.scope[\"a:b\"]\n\nimport data.issuance.lib\n"

about := {"title": "A", "authors": [{"name": "A"}], "custom": {"risk": "low"}}

titled := {"title": "T", "custom": {"code": "c"}}

# A package whose annotation is `package_about`, with rules whose n-th one has the n-th of these annotations.
module(text, package_about, rules) := {"file": "a.rego", "tree": object.union(tree, {
	"annotations": [object.union(package_about, {"scope": "package"})],
	"rules": [object.union(rule, {"annotations": [object.union(found, {"scope": "rule"}) | found := rules[i]]}) |
		some i, rule in tree.rules
	],
})} if {
	tree := rego.parse_module("a.rego", text)
}

scope(text) := module(concat("\n", [_scope, text]), about, [])

high(text, rules) := module(concat("\n", [_scope, text]), object.union(about, {"custom": {"risk": "high"}}), rules)

input_of(modules) := {
	"now": "2026-11-25T00:00:00Z",
	"modules": modules,
	"tests": [],
	"exceptions": [],
	"cases": [],
	"fields": [{"path": [], "members": ["client", "scope", "scopes", "sources"]}, {"path": ["sources", "*"], "members": ["status", "value"]}],
	"tuple_fields": [{"path": [], "members": ["action"]}],
	"secrets": {"names": ["cookie"], "suffixes": ["token"]},
	"grant_types": ["ciba", "password"],
}

codes(findings) := {found.code | some found in findings}

messages(findings) := {found.message | some found in findings}
