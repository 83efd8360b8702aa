# METADATA
# title: Conventions for policy files
# description: |
#   One query finds all that is wrong. Each file below rules/ is one theme, and joins by its package's name alone.
#   input: {"now": RFC 3339, "modules" and "tests": [{"file", "tree": what `opa parse` prints, with locations}],
#   "exceptions": [{"file", "row", "id", "record"}], "cases": [{"file", "scope", "grant_type", "sources": {NAME: status}}],
#   "fields": [{"path", "members"}], "tuple_fields": the same for other AuthZEN tuples,
#   "secrets": {"names", "suffixes"}, "grant_types": [NAME]}. See bridge/policy/lint.py.
#   finding: a set of {"file", "row", "code", "severity": "error" or "warning", "message", "remedy"}.
package lint

finding := {found | some found in data.lint.rules[_].finding}
