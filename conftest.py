"""Make every Python block of README.md and docs/ a test, and give hypothesis one profile."""

from __future__ import annotations

import os

import hypothesis
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

pytest_plugins = ("postgres_fixtures", "mariadb_fixtures")

hypothesis.settings.register_profile(
    "ci",
    # The machine is shared: a slow example is not a finding, and a failure must be repeatable.
    deadline=None,
    print_blob=True,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("ci")

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser()],
    patterns=["*.md"],
    # What the blocks of one page define belongs to a module, as it would in a reader's file.
    setup=lambda namespace: namespace.update(__name__="snippets"),
).pytest()
