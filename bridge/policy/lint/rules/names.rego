# METADATA
# title: Names that are nearly those of the contract
# description: A rule under another name is a helper - a `dney` denies nothing, and nothing says so.
package lint.rules.names

import data.lint.tree

_issuance := {"allow", "deny", "require", "limit", "claims", "crit"}

_read := {
	"gate": _issuance,
	"scope": _issuance,
	"scope_prefix": _issuance,
	"resource": {"allow", "context", "subjects", "resources", "actions"},
}

finding contains {
	"file": package_.file,
	"row": tree.row(rule),
	"code": "name_nearly",
	"severity": "error",
	"message": sprintf("the rule %s is nearly %s, and nothing reads it", [name, meant]),
	"remedy": sprintf("write %s, or give the helper a name that begins with _", [meant]),
} if {
	some package_ in tree.packages
	some rule in package_.rules
	name := tree.name(rule)
	not startswith(name, "_")
	not name in _read[package_.kind]
	some meant in _read[package_.kind]
	nearly(name, meant)
}

# METADATA
# title: One letter too many, too few or another, two that changed places, or capital ones
nearly(name, meant) if lower(name) == meant

nearly(name, meant) if meant in _shorter(name)

nearly(name, meant) if name in _shorter(meant)

nearly(name, meant) if {
	[i] = _differing(name, meant)
	i >= 0
}

nearly(name, meant) if {
	[i, j] = _differing(name, meant)
	substring(name, i, 1) == substring(meant, j, 1)
	substring(name, j, 1) == substring(meant, i, 1)
}

_shorter(name) := {concat("", [substring(name, 0, i), substring(name, i + 1, -1)]) |
	some i in numbers.range(0, count(name) - 1)
}

_differing(name, meant) := [i |
	some i in numbers.range(0, count(name) - 1)
	substring(name, i, 1) != substring(meant, i, 1)
] if {
	count(name) == count(meant)
}
