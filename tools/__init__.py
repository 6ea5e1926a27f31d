"""What is done around the package; each module runs by itself, see its docstring."""
