"""From a source's events to the change log, in three threads that hold each other up.

channel     a queue between two threads, bounded by weight
folding     events of a transaction to the last state of each row (pure)
composer    rows to columns, texts and vectors
known_rows  what is known of a row besides what the database just sent
shipment    what the composer gives to the keeper
keeper      composed batches to the log, and positions back to the source
rebuild     rows of the log to another epoch, with other texts or vectors
sightings   who waits for a row to come back through the feed
"""
