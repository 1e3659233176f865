"""Takes an application apart while it runs, one route at a time, and each step can be taken back.

| home | for |
|---|---|
| `compare` | proving that a new service answers as the application does |
| `rollout` | moving a route's requests there in steps that take themselves back |
"""
