"""The landmark network: eyes, nose and mouth of one detected face, for alignment. Results: docs/explanation/encoder.md."""
