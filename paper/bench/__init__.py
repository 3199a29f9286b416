"""Speed, measured side by side (`make bench`): cases of `latency` and `training` take turns in `runner`."""
