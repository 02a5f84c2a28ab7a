"""A batch as people can read it: decoded, with what was cut and masked, and where it is from."""
