from .autoencoder import TiedDecoder
def tied(encoder, c, h, w, gen=None, bias=0.): return TiedDecoder(encoder, bias)
