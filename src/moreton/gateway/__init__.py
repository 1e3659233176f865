"""API gateway: routes in front of an application, changed without a dropped request."""
