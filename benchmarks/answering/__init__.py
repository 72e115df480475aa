"""Caches measured from outside: what they answer, how often wrongly, and how long it takes."""
