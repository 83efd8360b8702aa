# METADATA
# title: Exceptions that name who approved them and until when
package lint.rules.exceptions

import data.lint.tree

_kinds := {"waiver", "break_glass"}

# {"file", "row", "id", "record"} of each exception that says more than its id.
_exceptions contains exception if some exception in input.exceptions

_exceptions contains {"file": package_.file, "row": tree.row(rule), "id": _id(record), "record": record} if {
	some package_ in tree.packages
	some rule in package_.rules
	record := tree.about_rule(rule).custom.exception
	not _is_reference(record)
}

finding contains found if {
	some exception in _exceptions
	lacking := sort([member | some member in {"kind", "id", "approved_by", "expires"}; not _has(exception, member)])
	lacking != []
	found := _at(exception, "exception_incomplete", "error", {
		"message": sprintf("the exception %s lacks %s: what it permits is dropped", [exception.id, concat(", ", lacking)]),
		"remedy": "write kind (waiver or break_glass), id, approved_by (a list of names) and expires (RFC 3339)",
	})
}

finding contains found if {
	some exception in _exceptions
	_has(exception, "expires")
	time.parse_rfc3339_ns(exception.record.expires) <= time.parse_rfc3339_ns(input.now)
	found := _at(exception, "exception_expired", "warning", {
		"message": sprintf("the exception %s has expired at %s", [exception.id, exception.record.expires]),
		"remedy": "take it out with its rule, or have it approved again with a later day",
	})
}

finding contains found if {
	some package_ in tree.packages
	some rule in package_.rules
	record := tree.about_rule(rule).custom.exception
	_is_reference(record)
	not _registered(record.id)
	place := {"file": package_.file, "row": tree.row(rule)}
	found := _at(place, "exception_unknown", "error", {
		"message": sprintf("data.exceptions has no %s: what the rule permits is dropped", [record.id]),
		"remedy": "add it to data.exceptions with kind, approved_by and expires, or write these here",
	})
}

_is_reference(record) if {
	some id
	{"id": id} = record
}

_registered(id) if {
	some exception in input.exceptions
	exception.id == id
}

_id(record) := record.id if {
	is_string(record.id)
} else := "without an id"

_has(exception, "kind") if exception.record.kind in _kinds

_has(exception, "id") if {
	is_string(exception.record.id)
	exception.record.id != ""
}

_has(exception, "approved_by") if {
	is_array(exception.record.approved_by)
	count(exception.record.approved_by) > 0
	every name in exception.record.approved_by { trim_space(name) != "" }
}

_has(exception, "expires") if {
	is_string(exception.record.expires)
	time.parse_rfc3339_ns(exception.record.expires)
}

_at(place, code, severity, texts) := object.union(texts, {
	"file": place.file, "row": place.row, "code": code, "severity": severity,
})
