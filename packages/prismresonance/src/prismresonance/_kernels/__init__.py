"""The inner loops: plain numpy, and the same compiled by numba when it is ready."""
