"""Speed, measured side by side: `make bench`, stored in `results/bench.json`.

`latency` and `training` list what is compared, in `runner` the cases take turns, each in a separate process, and
`targets` holds what was asked of the project.
"""
