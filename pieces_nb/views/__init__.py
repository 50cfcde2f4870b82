"""How it looks, and where it is typed: tables, bars, the magic, the panel, the terminal. Decides nothing."""
