"""Speed, measured side by side: `make bench`, kept in `results/bench.json`.

`latency` and `training` say what is compared, `runner` lets the cases take turns, each in a process of its own, and
`targets` says what was asked of the project.
"""
