package lint_test.spelling

import data.lint.spelling

test_one_letter_off if {
	every name in ["alow", "alloww", "callow", "allaw", "alolw", "ALLOW", "Allow"] { spelling.nearly(name, "allow") }
}

test_other_names_are_no_mistakes if {
	every name in ["helper", "allowed_", "al", "llaow_", "lalwo", "aloww"] { not spelling.nearly(name, "allow") }
}
