"""The opening of a run: what can be decided about all its tokens in bulk, before any certifier.

Each step costs a fraction of one float32 product of the rows with each other, and what it finds is
proven like anything else: twins (`twins`), the shared Newton step (`shared_step`), and rounds of
small programs for the tokens that the step leaves (`rounds`, `small_program`).
"""
