"""`highwater audit`: proves, under fire, that every answer is what its receipt says."""
