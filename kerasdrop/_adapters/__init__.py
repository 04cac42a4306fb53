"""Makes the layers of Keras, of users and of this package draw in a pass."""
