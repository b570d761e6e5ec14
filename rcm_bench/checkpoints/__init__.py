"""A transformer's weights from files: layouts of names, what fits what, LoRA, safe reading."""
