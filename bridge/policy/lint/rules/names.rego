# METADATA
# title: Names that nothing asks for
# description: A rule under another name is a helper - a `dney` denies nothing, and nothing says so.
package lint.rules.names

import data.lint.spelling
import data.lint.tree

_issuance := {"allow", "deny", "require", "limit", "claims", "crit"}

_read := {
	"gate": _issuance,
	"scope": _issuance,
	"scope_prefix": _issuance,
	"resource": {"allow", "deny", "context", "subjects", "resources", "actions"},
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
	spelling.nearly(name, meant)
}

finding contains {
	"file": package_.file,
	"row": package_.row,
	"code": "never_asked",
	"severity": "error",
	"message": "tuples about an audience are about issuance: the gate and the scopes answer them, and this package never does",
	"remedy": "write the rule into issuance.gate or the scope's package, or give the resource another type",
} if {
	some package_ in tree.packages
	package_.path == ["authzen", "resource", "audience"]
}
