"""Adam with L2 to the start and clipping, in float64: test/fixtures/reference/anchor.json.

    python scripts/reference/anchor-values.py > test/fixtures/reference/anchor.json
"""

import json

import torch

torch.manual_seed(3)
lam, lr, clip = 0.3, 0.05, 1.0
start = torch.randn(12, dtype=torch.float64).float().double()
slopes = torch.randn(8, 12, dtype=torch.float64).float().double()
theta = start.clone().requires_grad_()
adam = torch.optim.Adam([theta], lr=lr, betas=(0.9, 0.98), eps=1e-8)
losses, norms, path = [], [], []
for slope in slopes:
    adam.zero_grad()
    loss = (slope * theta).sum() + lam * (theta - start).pow(2).sum()
    loss.backward()
    norms.append(torch.nn.utils.clip_grad_norm_([theta], clip).item())
    adam.step()
    losses.append(loss.item())
    path.append(theta.detach().tolist())
print(
    json.dumps(
        {
            "madeWith": {"torch": torch.__version__},
            "lambda": lam,
            "lr": lr,
            "clip": clip,
            "start": start.tolist(),
            "slopes": slopes.tolist(),
            "losses": losses,
            "norms": norms,
            "path": path,
        }
    )
)
