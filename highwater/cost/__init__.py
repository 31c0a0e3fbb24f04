"""What a platform of this kind costs: a calculator over measured figures and a file of prices."""
