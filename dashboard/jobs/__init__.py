"""Job types: their parameters, their forms and the context they run in."""
