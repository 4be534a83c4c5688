"""Whether a readout is the model's own: toy models, and the test of their logits."""
