"""A destination plugin of mparticle-gateway for Sailthru."""
