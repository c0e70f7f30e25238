"""What one worker runs jobs with: its engines, their models, what these cost, and its routes."""
