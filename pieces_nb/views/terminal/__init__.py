"""`pieces-nb` in a terminal: the magic's grammar and verbs, with text, JSON and exit codes around them."""
