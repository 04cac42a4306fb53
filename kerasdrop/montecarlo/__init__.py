"""Monte Carlo dropout; `kerasdrop` re-exports the public names.

Nothing is imported here: `layers.base` needs `montecarlo.scopes`, while
`montecarlo.adapters` needs `layers`.
"""
