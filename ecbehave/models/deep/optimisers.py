"""The rules that turn a gradient into a step, and what is done to the gradient before and after."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim.adagrad import adagrad
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from ecbehave.models.deep.settings import Training

_MOMENTUM = 0.9
_BETAS = (0.9, 0.999)


class Optimiser:
    """SGD with momentum, Adam, AdamW or Adagrad, with penalties on weights, and not on biases and norms.

    The rules are torch's functions: its classes would load a compiler, which takes a second and 70 MB. They are
    fused, one pass over memory instead of one for each operation, and give the same bytes again.

    Source: Sutskever et al. (2013), On the importance of initialization and momentum in deep learning, eq. 1 and 2
    (momentum, in torch's form); Kingma and Ba (2015), Adam, algorithm 1; Loshchilov and Hutter (2019), Decoupled
    weight decay regularization, algorithm 2 (AdamW); Duchi et al. (2011), Adaptive subgradient methods, eq. 1.
    """

    def __init__(self, net: nn.Module, how: Training) -> None:
        self._how = how
        self._momentum = _MOMENTUM if how.momentum is None else how.momentum
        self.weights = [weight for weight in net.parameters() if weight.requires_grad]
        self._penalised = [n for n, weight in enumerate(self.weights) if weight.ndim >= 2]
        self._free = [n for n, weight in enumerate(self.weights) if weight.ndim < 2]
        is_adam = how.optimizer in ("adam", "adamw")
        self._sums = [[torch.zeros_like(w) for w in self.weights] for _ in range(2 if is_adam else 1)]
        """By what is summed: gradients, or their squares, or both."""
        self._steps = [torch.zeros((), device=weight.device) for weight in self.weights]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rate: float) -> None:
        """Move the weights.

        Args:
            gradients: of `weights`; they are changed.
            rate: the learning rate.
        """
        if self._how.clip is not None:
            clip(gradients, self._how.clip)
        for numbers, decay in ((self._penalised, self._how.weight_decay), (self._free, 0.0)):
            if numbers:
                self._move(numbers, gradients, rate, decay)
        if self._how.l1:
            self._shrink(rate * self._how.l1)

    def _move(self, numbers: Sequence[int], gradients: Sequence[Tensor], rate: float, decay: float) -> None:
        lists = (self.weights, gradients, *self._sums, self._steps)
        weights, by, *sums, steps = ([tensors[n] for n in numbers] for tensors in lists)
        is_on_cpu = weights[0].device.type == "cpu"
        if self._how.optimizer == "sgd":
            sgd(
                weights,
                by,
                list(sums[0]),
                fused=True,
                weight_decay=decay,
                momentum=self._momentum,
                lr=rate,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
        elif self._how.optimizer == "adagrad":
            # The fused one is for CPUs only.
            adagrad(
                weights,
                by,
                sums[0],
                steps,
                fused=is_on_cpu,
                lr=rate,
                weight_decay=decay,
                lr_decay=0.0,
                eps=1e-10,
                maximize=False,
            )
        else:
            adam(
                weights,
                by,
                sums[0],
                sums[1],
                [],
                steps,
                fused=True,
                decoupled_weight_decay=self._how.optimizer == "adamw",
                amsgrad=False,
                beta1=_BETAS[0],
                beta2=_BETAS[1],
                lr=rate,
                weight_decay=decay,
                eps=1e-8,
                maximize=False,
            )

    def _shrink(self, by: float) -> None:
        """Move weights towards 0 by so much, and no further.

        Source: Parikh and Boyd (2014), Proximal algorithms, section 6.5.2.
        """
        for n in self._penalised:
            self.weights[n].copy_(nn.functional.softshrink(self.weights[n], by))

    def state(self) -> dict[str, Tensor]:
        """Return what is remembered of earlier steps, by the number of the sum and of the weight."""
        return {
            f"{k}.{n}": value
            for k, sums in enumerate([*self._sums, self._steps])
            for n, value in enumerate(sums)
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Remember what another optimiser of the same weights remembered."""
        for key, value in self.state().items():
            value.copy_(state[key])


@torch.no_grad()
def clip(gradients: Sequence[Tensor], longest: float) -> None:
    """Make the gradient of all weights together no longer than `longest`, in its direction.

    Source: Pascanu et al. (2013), On the difficulty of training recurrent neural networks, algorithm 1.
    """
    lengths = torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients])
    factor = (longest / torch.linalg.vector_norm(lengths)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor)
