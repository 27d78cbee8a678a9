"""Does autoencoder pre-training help your classifier, by how much, and is it real?"""
__version__ = "0.1.0"
