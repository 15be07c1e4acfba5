"""Keep pytest from importing the scripts: they need PyTorch, which is not here."""

collect_ignore_glob = ["*.py"]
