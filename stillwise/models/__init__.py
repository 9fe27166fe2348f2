"""Language models behind one protocol: local transformers, servers, a scripted fake that ships."""
