"""Each evaluation as text lines and as an HTML page."""
