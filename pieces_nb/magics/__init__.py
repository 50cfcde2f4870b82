"""`%pieces_model` is in `magic.py`; beside it the grammar and what the verbs do, which a terminal uses too."""
