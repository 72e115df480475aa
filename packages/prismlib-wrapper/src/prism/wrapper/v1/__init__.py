"""Made from `protos/prism/wrapper/v1`; do not edit."""
