"""The local page: a separate process that sends requests to the daemons over their control sockets.

It loads no model, no numpy and no gallery, and may import neither `recognition` nor `service`. The extra [web] installs what
it needs. app.py shows the routes; every route states the role that it needs.
"""
