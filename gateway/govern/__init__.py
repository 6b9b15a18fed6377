"""Governing: decides which facts a connection may be sent, before its plugin plans them."""
