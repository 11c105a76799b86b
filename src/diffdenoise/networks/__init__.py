"""The networks: plain modules over tensors; they know nothing of files, configuration or training."""
