"""What a model is, what may be written to it, which one a name means, and what can be done with it. No I/O."""
