"""The parameters of a function, read out of a message: what it says, and what it does not say."""
