"""The landmark network: eyes, nose and mouth of one face that was found, for alignment. What it gave: docs/explanation/encoder.md."""
