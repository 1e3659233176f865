"""django-oscar as it comes from PyPI, with the settings that any shop needs."""
