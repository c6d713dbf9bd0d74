"""Would an adapter load? Each loader's rules, held against headers; no weight is read.

`peft` decides which modules PEFT would fill from the file; `parts` has the keys and shapes that
it gives a module of each type: to add a type, a function and its line in `PARTS`. `places` counts
for other families which modules have their place in the base.
"""
