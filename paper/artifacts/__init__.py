"""Build products of run directories: tables, figures, the report. Nothing here trains or measures."""
