"""The parts of the two-node test: users of one app, a database and a wrapper over a link."""
