# METADATA
# title: Syntax trees
# description: What the rules ask of a module that `opa parse` has read.
package lint.tree

# METADATA
# title: Packages that the bridge asks, by file
packages[module.file] := {
	"file": module.file,
	"row": row(module.tree["package"]),
	"path": path,
	"kind": kind,
	"about": about,
	"risk": object.get(about, ["custom", "risk"], ""),
	"tree": module.tree,
	"rules": object.get(module.tree, "rules", []),
} if {
	some module in input.modules
	path := _package_path(module.tree)
	kind := _kind(path)
	about := object.union_n([a | some a in object.get(module.tree, "annotations", []); a.scope == "package"])
}

# METADATA
# title: Packages that answer for issuance - the gate, a scope, or a prefix of scopes
issuance[file] := package_ if {
	some file, package_ in packages
	package_.kind != "resource"
}

_package_path(tree) := [term.value | some i, term in tree["package"].path; i > 0]

_kind(["issuance", "gate"]) := "gate"

_kind(["issuance", "scope", _]) := "scope"

_kind(["issuance", "scope_prefix", _]) := "scope_prefix"

_kind(["authzen", "resource", _]) := "resource"

# METADATA
# title: Row of a node, 1 where the tree does not tell it
row(node) := object.get(node, ["location", "row"], 1)

# METADATA
# title: Name of a rule
name(rule) := rule.head.ref[0].value

# METADATA
# title: Annotations of a rule itself
about_rule(rule) := object.union_n([a | some a in object.get(rule, "annotations", []); a.scope == "rule"])

# METADATA
# title: Rules that make a set of findings, allow or deny
is_finding_rule(rule) if {
	name(rule) in {"allow", "deny"}
	rule.head.key
	count(rule.head.ref) == 1
}

# METADATA
# title: Code of a finding rule, from its annotation or from the object that it makes
code(rule) := found if {
	_calls_lib(rule.head.key)
	found := about_rule(rule).custom.code
} else := found if {
	some [name, value] in rule.head.key.value
	name.value == "code"
	value.type == "string"
	found := value.value
}

# METADATA
# title: Whether somebody else makes the finding, a variable or a function of the engineer's own
made_elsewhere(rule) if rule.head.key.type == "var"

made_elsewhere(rule) if {
	rule.head.key.type in {"call", "ref"}
	not _calls_lib(rule.head.key)
}

made_elsewhere(rule) if {
	rule.head.key.type == "object"
	some [name, value] in rule.head.key.value
	name.value == "code"
	value.type != "string"
}

_calls_lib(term) if {
	term.type == "call"
	[step.value | some step in term.value[0].value][count(term.value[0].value) - 1] == "finding"
}

# METADATA
# title: References below a node, {"row", "steps"}; a step is a string, or null for what is known only at run time
refs(tree, node) := {{"row": row(term.value[0]), "steps": steps} |
	walk(node, [_, term])
	term.type == "ref"
	steps := array.concat(_head(tree, term.value[0]), [_step(step) | some i, step in term.value; i > 0])
}

# An alias stands for what it imports.
_head(tree, term) := path if {
	term.type == "var"
	path := _imported(tree, term.value)
} else := [term.value] if {
	term.type == "var"
} else := [null]

_imported(tree, alias) := [[step.value | some step in found.path.value] |
	some found in object.get(tree, "imports", [])
	last := found.path.value[count(found.path.value) - 1].value
	object.get(found, "alias", last) == alias
][0]

_step(term) := term.value if {
	term.type == "string"
} else := null

# METADATA
# title: What a node reads of its input, by reference or by object.get - {"row", "path"}
inputs(tree, node) := {{"row": ref.row, "path": array.slice(ref.steps, 1, count(ref.steps))} |
	some ref in refs(tree, node)
	ref.steps[0] == "input"
} | {{"row": row(call[0]), "path": array.concat(array.slice(steps, 1, count(steps)), wanted)} |
	some call in calls(node, ["object", "get"])
	some ref in refs(tree, [_as_ref(call[1])])
	steps := ref.steps
	steps[0] == "input"
	wanted := _wanted(call[2])
}

_as_ref(term) := term if {
	term.type == "ref"
} else := {"type": "ref", "value": [term]} if {
	term.type == "var"
}

_wanted(term) := [term.value] if {
	term.type == "string"
} else := [_step(step) | some step in term.value] if {
	term.type == "array"
} else := []

# METADATA
# title: Calls of one built-in below a node, each as [operator, argument, ...]
calls(node, operator) := [terms |
	walk(node, [_, found])
	terms := _terms(found)
	[step.value | some step in terms[0].value] == operator
]

_terms(node) := node.value if node.type == "call"

_terms(node) := node.terms if is_array(node.terms)

# METADATA
# title: Strings below a node
strings(node) := {term.value | walk(node, [_, term]); term.type == "string"}

# METADATA
# title: Trees of the test modules that mention a package
tests_of(package_) := [test.tree | some test in input.tests; package_.path in _mentioned[test.file]]

# What each test module names below data, as far as a package's path goes.
_mentioned[test.file] := {array.slice(ref.steps, 1, length) |
	some ref in refs({}, test.tree)
	ref.steps[0] == "data"
	some length in [3, 4]
	length <= count(ref.steps)
} if {
	some test in input.tests
}

# METADATA
# title: Cases that a package answers
cases_of(package_) := input.cases if {
	package_.kind == "gate"
} else := [case | some case in _cases[package_.path[2]]] if {
	package_.kind == "scope"
} else := [] if {
	package_.kind == "resource"
} else := [case | some scope, cases in _cases; startswith(scope, package_.path[2]); some case in cases]

_cases[scope] contains case if {
	some case in input.cases
	some scope in split(case.scope, " ")
}
