"""Adapters in files of other tools: kohya, LyCORIS, diffusers, MLX-LM, torchtune, llama.cpp."""
