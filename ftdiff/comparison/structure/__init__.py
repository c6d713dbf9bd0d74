"""How a whole checkpoint was changed, as far as a few rows of its moved matrices tell: numbers.

To look for another structure: a record in `metrics/records` of what one matrix shows, a module
here in which the matrices agree, its part in `survey`, and a rule in `analyses/findings`.
"""
