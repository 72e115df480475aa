"""Made from `protos/chorus_fabric/v1`; do not edit."""
