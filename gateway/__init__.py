"""An integration gateway that takes what mParticle posts and delivers it to destination plugins."""

__version__ = "0.1.0"
