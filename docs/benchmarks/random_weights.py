"""Write a checkpoint of random weights, for timing a model whose weights are not at hand.

python docs/benchmarks/random_weights.py sam_vit_h FILE
"""

from __future__ import annotations

import sys

import torch
from segment_anything import sam_model_registry

if __name__ == "__main__":
    name, file = sys.argv[1:]
    torch.manual_seed(0)
    torch.save(sam_model_registry[name.removeprefix("sam_")]().state_dict(), file)
    print(f"{name}: random weights in {file}; what it finds means nothing, the time that it takes does")
