"""Calls in flight and their streams: one call for all who ask the same at the same time.

`flight_table` and `stream_buffer` are the rules, without waiting; `single_flight`, `streams` and
`async_streams` add the waiting, for threads and for the tasks of event loops.
"""
