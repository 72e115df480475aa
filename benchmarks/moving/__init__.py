"""Parts of the benchmark `fabric`."""
