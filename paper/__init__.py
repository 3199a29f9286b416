"""What regenerates the paper: tables, figures, claims, the report, and the checks of them."""
