"""What `compress` does: finds what matters in a conversation, and fits it into a budget."""
