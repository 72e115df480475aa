"""PostgreSQL as a source: a snapshot, then the stream of a logical replication slot."""
