"""Methods: what a training step minimises and how it is compiled."""
