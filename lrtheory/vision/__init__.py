"""The patched CIFAR-10 experiment (section 6 of the paper): the same learning order in a real network."""
