"""What one process of a long run needs of the machine around it, whatever it computes."""
