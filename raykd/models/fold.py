"""Batch norms of a frozen network, folded into the convolutions before them: fewer operations, the same answers."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(network: nn.Module) -> nn.Module:
    """A copy of a network in evaluation mode, with its batch norms folded where that is possible.

    Its answers are those of the network but for rounding. A network that `torch.fx` cannot trace is returned as it is.
    """
    try:
        graph = fx.symbolic_trace(network).graph
    except Exception:
        return network
    pairs = _pairs(network, graph)
    if not pairs:
        return network
    copy = deepcopy(network)
    for names in pairs:
        convolution, norm = map(copy.get_submodule, names)
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        for name, module in zip(names, (fuse_conv_bn_eval(convolution, norm), nn.Identity()), strict=True):
            copy.set_submodule(name, module)
    return copy


def _pairs(network: nn.Module, graph: fx.Graph) -> list[tuple[str, str]]:
    """Names of convolutions and of the batch norms that alone use their results; each is called once."""
    called = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    pairs = []
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(network.get_submodule(node.target), nn.BatchNorm2d):
            continue
        before = node.args[0]
        if (
            before.op == "call_module"
            and isinstance(network.get_submodule(before.target), nn.Conv2d)
            and len(before.users) == called[before.target] == called[node.target] == 1
            and network.get_submodule(node.target).track_running_stats
        ):
            pairs.append((before.target, node.target))
    return pairs
