"""The parts of the cluster's benchmark: three nodes that share answers, or do not."""
