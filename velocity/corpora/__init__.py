"""Where speech comes from: each kind of corpus brings its audio and describes it in manifests."""
