"""The parts of the benchmarks of rows: from a real PostgreSQL into the app's process."""
