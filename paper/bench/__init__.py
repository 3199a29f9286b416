"""Speed, measured side by side (`make bench`): `latency` and `training` list the cases, which take turns in `runner`."""
