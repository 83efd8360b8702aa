# METADATA
# title: What policies read
package lint.rules.reads

import data.lint.spelling
import data.lint.tree

finding contains _at(package_, read.row, "input_unknown", {"message": message, "remedy": remedy}) if {
	some package_ in tree.packages
	some read in tree.inputs(package_.tree, package_.tree.rules)
	some i, step in read.path
	is_string(step)
	some object in _fields(package_.kind)
	_fits(object.path, array.slice(read.path, 0, i))
	not step in object.members
	message := sprintf("input has no %s", [_written(array.slice(read.path, 0, i + 1))])
	remedy := _instead(step, object.members)
}

finding contains _at(package_, read.row, "input_unknown", {"message": message, "remedy": remedy}) if {
	some package_ in tree.issuance
	package_.kind != "scope_prefix"
	some read in tree.inputs(package_.tree, package_.tree.rules)
	read.path[0] == "scope"
	message := "input has no scope outside of packages for a prefix"
	remedy := "the package's own scope is known; all that is asked for stands in input.scopes"
}

finding contains _at(package_, read.row, "secret_read", {"message": message, "remedy": remedy}) if {
	some package_ in tree.packages
	some read in tree.inputs(package_.tree, package_.tree.rules)
	count(read.path) > 1 # at the top stand subject_token and the like, which are objects
	step := read.path[count(read.path) - 1]
	is_string(step)
	_secret(lower(step))
	message := sprintf("%s is the name of a secret: what stands under it is \"***\"", [_written(read.path)])
	remedy := "have the token service send what it knows of the secret under another name"
}

finding contains _at(package_, tree.row(call[0]), "scope_tree_read", {"message": message, "remedy": remedy}) if {
	some package_ in tree.packages
	some call in tree.calls(package_.tree.rules, ["object", "get"])
	some ref in tree.refs(package_.tree, [_as_ref(call[1])])
	_is_tree(ref.steps)
	message := "object.get over packages evaluates every one of them"
	remedy := "read data.issuance.scope[NAME].RULE, which evaluates one"
}

_instead(step, members) := sprintf("write %s", [concat(" or ", sort(meant))]) if {
	meant := {member | some member in members; spelling.nearly(step, member)}
	meant != set()
} else := sprintf("there is: %s", [concat(", ", sort(members))])

_fields("resource") := input.tuple_fields

_fields(kind) := input.fields if kind != "resource"

_fits(pattern, path) if {
	count(pattern) == count(path)
	every i, step in pattern { step in {"*", path[i]} }
}

_written(path) := concat(".", [step | some known in path; step := _or_any(known)])

_or_any(step) := step if {
	is_string(step)
} else := "*"

_secret(name) if name in input.secrets.names

_secret(name) if {
	some suffix in input.secrets.suffixes
	endswith(name, suffix)
}

_as_ref(term) := term if {
	term.type == "ref"
} else := {"type": "ref", "value": [term]} if {
	term.type == "var"
}

_is_tree(steps) if array.slice(steps, 0, 2) in {["data", "issuance"], ["data", "authzen"]}

_at(package_, row, code, texts) := object.union(texts, {
	"file": package_.file, "row": row, "code": code, "severity": "error",
})
