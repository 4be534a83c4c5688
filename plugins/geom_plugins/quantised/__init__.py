"""Heads that are stored quantised, a module for each format; `matrix` opens any of them.

A readout is what the stored numbers define, in exact arithmetic: ``scale * (q - zero)`` is not
rounded to float16 or bfloat16, as the libraries of most formats do on the way to a product, each in
its own place. float64 holds nearly all such values exactly; the docstring of each module says which
ones are rounded.
"""
