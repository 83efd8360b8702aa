# METADATA
# title: Owners, titles, risks, codes
package lint.rules.annotations

import data.lint.tree

_risks := {"low", "medium", "high"}

finding contains _about(package_, "owner_missing", "error", "nobody owns the package", remedy) if {
	remedy := "name the owner in the package's annotation: authors: [Name <mail>]"
	some package_ in tree.packages
	not _named(package_.about)
}

finding contains _about(package_, "title_missing", "error", "the package has no title", remedy) if {
	remedy := "add `title` to the package's annotation"
	some package_ in tree.packages
	not _titled(package_.about)
}

finding contains _about(package_, "risk_missing", "warning", "the package tells no risk", remedy) if {
	remedy := "add custom.risk to the package's annotation: low, medium or high"
	some package_ in tree.packages
	package_.risk == ""
}

finding contains _about(package_, "risk_unknown", "error", message, "write low, medium or high") if {
	some package_ in tree.packages
	package_.risk != ""
	not package_.risk in _risks
	message := sprintf("the risk %v is none", [package_.risk])
}

finding contains _at(package_, rule, "title_missing", message, "add `title` to the rule's annotation") if {
	some package_ in tree.issuance
	some rule in package_.rules
	tree.is_finding_rule(rule)
	code := tree.code(rule)
	not _tells_title(rule)
	message := sprintf("the rule %s with the code %q has no title", [tree.name(rule), code])
}

finding contains _at(package_, rule, "code_missing", message, remedy) if {
	some package_ in tree.issuance
	some rule in package_.rules
	tree.is_finding_rule(rule)
	not _coded(rule)
	not tree.made_elsewhere(rule)
	remedy := "add custom.code to the rule's own annotation, and make the finding with lib.finding(rego.metadata.chain())"
	message := sprintf("the rule %s has no code: %s", [tree.name(rule), _without_code[tree.name(rule)]])
}

finding contains _at(package_, rule, "code_missing", "deny is a boolean: it denies, and nobody learns why", remedy) if {
	remedy := "write deny contains lib.finding(rego.metadata.chain()) if ..., with a code in the annotation"
	some package_ in tree.issuance
	some rule in package_.rules
	tree.name(rule) == "deny"
	count(rule.head.ref) == 1
	not rule.head.key
	rule.head.value.value == true
}

finding contains _at(package_, rule, "not_a_set", message, sprintf("write %s contains ...", [name])) if {
	some package_ in tree.issuance
	some rule in package_.rules
	name := tree.name(rule)
	name in {"allow", "deny", "require", "crit"}
	count(rule.head.ref) > 1
	message := sprintf("the rule %s makes an object, where a set is read", [name])
}

finding contains _at(package_, rule, "code_not_unique", message, "give each rule of the package a code of its own") if {
	some package_ in tree.issuance
	some i, rule in package_.rules
	tree.is_finding_rule(rule)
	code := tree.code(rule)
	earlier := [other | some j, other in package_.rules; j < i; tree.is_finding_rule(other); tree.code(other) == code]
	message := sprintf("the code %q is that of the rule in row %d already", [code, tree.row(earlier[0])])
}

_without_code := {"allow": "what it says permits nothing", "deny": "it denies, and nobody learns why"}

_named(about) if {
	some author in about.authors
	_text(_name(author))
}

_titled(about) if _text(about.title)

_coded(rule) if _text(tree.code(rule))

_name(author) := author if {
	is_string(author)
} else := object.get(author, "name", "")

_tells_title(rule) if _titled(tree.about_rule(rule))

_tells_title(rule) if {
	some [name, _] in rule.head.key.value
	name.value == "title"
}

_text(value) if {
	is_string(value)
	trim_space(value) != ""
}

_about(package_, code, severity, message, remedy) := {
	"file": package_.file, "row": package_.row, "code": code,
	"severity": severity, "message": message, "remedy": remedy,
}

_at(package_, rule, code, message, remedy) := {
	"file": package_.file, "row": tree.row(rule), "code": code,
	"severity": "error", "message": message, "remedy": remedy,
}
