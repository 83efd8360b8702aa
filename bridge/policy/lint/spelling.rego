# METADATA
# title: Slips of the pen
package lint.spelling

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
