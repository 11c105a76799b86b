"""What becomes of the work when the machine, the network or an operator interferes."""
