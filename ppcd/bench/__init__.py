"""Speed, measured side by side: `make bench` (`python -m paper.bench`), kept in `results/bench.json`.

Contestants, each a process of its own, take turns (`turns`); a part of the bench is a module that says who they are
and what their turns do: `latency`, `training`, `evaluation`, `roofline`. What was asked of the project is in `bars`.
"""
