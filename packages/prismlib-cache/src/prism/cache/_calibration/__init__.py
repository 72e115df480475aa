"""Keeping the share of wrong answers under what the user accepts. Pure: values in, values out.

`calibrator` is told what each question looked like and what became known of it, and gives the rule
by which the next ones are decided. `rule` is that rule, `weights` learns what evidence is worth,
`tail` tells how much error a bar lets through, `drift` notices when old labels no longer hold, and
`window` keeps the last of each.
"""
