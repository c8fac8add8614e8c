"""One file for each evaluation: its result as lines of text, and as an HTML page."""
