"""How the weights that the student starts from were made: synthetic images, and the training on them."""
