"""The monitor: live tasks beside the workers' fleet and Flower."""
