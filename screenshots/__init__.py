"""Pictures of every page, for the documentation and for looking at: `make screenshots`.

What they show really happened: a control plane with its control loop, engines of real
agents, and people who change things over the API for some minutes. Nothing of it is
written into the database by hand. It stands beside `benchmarks` and, like it, starts its
processes with `tests.support`: neither is part of the product.
"""
