"""Run a benchmark by name: `hatch run bench NAME`, or `python benchmarks/run.py NAME`."""

from __future__ import annotations

import os
import sys
from importlib import import_module

BENCHMARKS = {
    "cache": "PrismCache from outside: hits, wrong hits, latency, load, beside rules of others",
    "cluster": "three nodes that share answers: tokens saved, beside a cache on each node alone",
    "compress": "the sentence that answers, kept or lost, beside whole chunks, BM25 and chance",
    "fabric": "rows from process to process: raw TCP, gRPC, mutual TLS, sealed; and what it costs",
    "feed": "rows from PostgreSQL into the app beside pg_recvlogical, psql and the bare embedder",
    "index": "WaveIndex beside numpy, faiss, hnswlib, usearch and the speed of memory",
    "mesh": "a word to all peers of a mesh and back, beside raw TCP",
    "nodes": "the two-node test: users of an app, a database behind a link, stale reads counted",
    "sensitivity": "how much the figures of prism.cache hang on each of its constants",
    "push": "the endpoint that TiCDC's messages are pushed to, beside json.loads alone",
    "reads": "reads at the database, by key and with pgvector, beside the replica in the app",
}
# One thread for every library: they read this when they are imported, so it is said before. A pool
# of threads waits for its slowest, which on a busy machine decides the figure.
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def main() -> int:
    """Run the command line."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name not in BENCHMARKS:
        print("usage: hatch run bench NAME [--help | OPTIONS]\n")
        for known, what in BENCHMARKS.items():
            print(f"  {known:<12}{what}")
        return 0 if name in ("-h", "--help") else 2
    os.environ.update(dict.fromkeys(POOLS, "1"), TOKENIZERS_PARALLELISM="false")
    return int(import_module(name).main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
