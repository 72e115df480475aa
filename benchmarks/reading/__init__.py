"""The parts of the benchmarks of reads: at the database, and from the replica in the app."""
