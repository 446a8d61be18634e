"""A fleet of replicas that serves a model to users."""
