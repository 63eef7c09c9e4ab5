"""One module a kind of corpus: its section in params.yaml, how its speech is brought and read, and its ``KIND``.

``velocity.config.corpora`` finds the modules and builds the section ``corpora`` from them.
"""
