"""Where an agent is put in: Django, Flask and whatever else is WSGI, FastAPI and ASGI."""
