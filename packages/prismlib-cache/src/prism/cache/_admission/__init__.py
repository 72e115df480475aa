"""Which questions must not be answered from a cache, and why: rules as data.

Pure: a text goes in, the rule that holds it back comes out.
"""
