# METADATA
# title: Sources that may be missing
# description: A `not`, or a deny, over what an external system answers says something else when that system is down.
package lint.rules.sources

import data.lint.tree

finding contains {
	"file": file,
	"row": min([read.row | some read in _doubtful(package_); read.path[1] == source]),
	"code": "source_untested",
	"severity": "error",
	"message": sprintf("a deny or a negation hangs on input.sources.%s, and no test says what a failed one does", [source]),
	"remedy": sprintf("add a test or a case in which the status of %s is stale, failed or absent", [source]),
} if {
	some file, package_ in tree.issuance
	some source in {read.path[1] | some read in _doubtful(package_)}
	is_string(source)
	not _tested(package_, source)
}

# What is read of sources in denials, under a `not`, and in the package's own rules that these call.
_doubtful(package_) := {read |
	called := _called(package_)
	nodes := array.concat(_denials(package_), [rule | some rule in package_.rules; tree.name(rule) in called])
	some read in tree.inputs(package_.tree, nodes)
	read.path[0] == "sources"
}

_denials(package_) := array.concat(
	[rule | some rule in package_.rules; tree.name(rule) == "deny"],
	[node | walk(package_.rules, [_, node]); node.negated == true],
)

_called(package_) := graph.reachable(_calls(package_), _names(package_, _denials(package_)))

_calls(package_) := {name: names |
	some name in {tree.name(rule) | some rule in package_.rules}
	names := _names(package_, [rule | some rule in package_.rules; tree.name(rule) == name])
}

_names(package_, nodes) := {term.value | walk(nodes, [_, term]); term.type == "var"} & {name |
	some rule in package_.rules
	name := tree.name(rule)
}

_tested(package_, source) if {
	some test in tree.tests_of(package_)
	texts := tree.strings(test)
	{source, "status"} & texts == {source, "status"}
	count({"stale", "failed", "absent"} & texts) > 0
}

_tested(package_, source) if {
	some case in tree.cases_of(package_)
	case.sources[source] in {"stale", "failed", "absent"}
}
