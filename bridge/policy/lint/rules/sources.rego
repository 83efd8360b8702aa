# METADATA
# title: Sources that may be missing
# description: |
#   A deny over what an external system answers says something else when that system is down, and so does all that
#   makes something of nothing: a `not`, a comprehension, object.get, an else, a default.
package lint.rules.sources

import data.lint.tree

finding contains {
	"file": file,
	"row": min([read.row | some read in _doubtful(package_); read.path[1] == source]),
	"code": "source_untested",
	"severity": "error",
	"message": sprintf("what it says without input.sources.%s is another thing, and no test says which", [source]),
	"remedy": sprintf("add a test or a case in which the status of %s is stale, failed or absent", [source]),
} if {
	some file, package_ in tree.packages
	some source in {read.path[1] | some read in _doubtful(package_)}
	is_string(source)
	not _tested(package_, source)
}

# What is read of sources there, and in the package's own rules that it calls.
_doubtful(package_) := {read |
	called := _called(package_)
	nodes := array.concat(_denials(package_), [rule | some rule in package_.rules; tree.name(rule) in called])
	some read in tree.inputs(package_.tree, nodes)
	read.path[0] == "sources"
}

_denials(package_) := array.concat(
	[rule | some rule in package_.rules; tree.name(rule) == "deny"],
	[node | walk(package_.rules, [_, node]); _of_nothing(node)],
)

_of_nothing(node) if node.negated == true

_of_nothing(node) if node.type in {"arraycomprehension", "setcomprehension", "objectcomprehension"}

_of_nothing(node) if {
	node.type == "call"
	tree.calls(node, ["object", "get"]) != []
}

_of_nothing(node) if node["else"]

_of_nothing(node) if {
	node["default"] == true
	node.head.value.value != false
}

# A rule with the default `false`, asked whether it is: `_blocked == false`.
_of_nothing(node) if {
	[operator, left, right] = node.terms
	some [literal, other] in [[left, right], [right, left]]
	literal.type == "boolean"
	other.type == "var"
	[operator.value[0].value, literal.value] in [["equal", false], ["neq", true]]
}

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
