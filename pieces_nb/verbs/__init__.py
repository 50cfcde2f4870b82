"""What can be said to `%pieces_model` and `pieces-nb`, and what it does: values come back. Prints and draws nothing."""
