"""T5 v1.0, v1.1 and Flan."""
