"""PPCD-GAN itself, to be read from top to bottom: torch and `ppcd.base`, nothing else of the project.

- `masks`: the learnable mask layer (eqs. 1-3).
- `blocks`: the PP-Res block (section 3.2, Figure 2), and how it becomes slim.
- `losses`: eqs. 2 and 4-8.
- `schedule`: how the masks close; `earlier_rules`: the rule of earlier runs, and the paper's literal readings.
- `teacher`: the frozen teacher and the class-conditional normalisation of its features (section 3.3).
- `step`: one iteration of the training: D, G and the masks.
- `stream`: beyond the paper, masks on what flows between the blocks.
- `slim`: masks and dead channels physically gone.
- `ema`: averages of the weights.
"""
