"""Break the feed in every way we know, and see that every replica becomes its table again.

A `World` is a real PostgreSQL, a real `prism-wrapper` and a real app with a driver, each a process
of its own, and a TCP link between each two. A `Fault` breaks one of these and mends it. A `Round`
lets writers write, breaks something, in the stream or in a snapshot, and compares row for row.

    hatch run chaos feed
"""
