"""Deterministic simulations: the machines of the cluster among faults, many schedules a second."""
