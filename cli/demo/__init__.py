"""`countermand demo`: the main job on throw-away services, with made-up orders and requests."""
