"""What is trained (profiles, recipes), and a training of any recipe."""
