# METADATA
# title: What is asked of packages at high risk
package lint.rules.risk

import data.lint.tree

_high[file] := package_ if {
	some file, package_ in tree.issuance
	package_.risk == "high"
}

finding contains _at(package_, package_.row, "lifetime_missing", {"message": message, "remedy": remedy}) if {
	some package_ in _high
	package_.kind != "gate"
	every rule in package_.rules { not _limits_lifetime(rule) }
	message := "the risk is high and no rule limits the token's life"
	remedy := `add limit["token_lifetime"] := SECONDS`
}

finding contains _at(package_, tree.row(rule), "boolean_allow", {"message": message, "remedy": remedy}) if {
	some package_ in _high
	some rule in package_.rules
	tree.name(rule) == "allow"
	not rule.head.key
	message := "the risk is high and allow is a boolean: nobody can tell later which rule permitted"
	remedy := "write allow contains lib.finding(rego.metadata.chain()) if ..., with a code in the annotation"
}

finding contains _at(package_, package_.row, "grant_type_untested", {"message": message, "remedy": remedy}) if {
	some package_ in _high
	tested := _tested(package_)
	untested := [grant_type | some grant_type in input.grant_types; not grant_type in tested]
	untested != []
	message := sprintf("the risk is high and no test or case names %s", [concat(", ", untested)])
	remedy := "add a case whose grant_type lists them, with what is expected (mostly deny)"
}

_limits_lifetime(rule) if {
	tree.name(rule) == "limit"
	"token_lifetime" in tree.strings(rule)
}

_tested(package_) := {case.grant_type | some case in tree.cases_of(package_)} | {text |
	some test in tree.tests_of(package_)
	some text in tree.strings(test)
}

_at(package_, row, code, texts) := object.union(texts, {
	"file": package_.file, "row": row, "code": code, "severity": "error",
})
