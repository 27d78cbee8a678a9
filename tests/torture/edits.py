from . import Kind
KIND = Kind('edits', '', lambda rng, folder: (0, []))
