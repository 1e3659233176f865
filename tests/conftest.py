pytest_plugins = ["moreton.testing.plugin"]
