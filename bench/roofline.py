"""A roofline model of the packed encoder on a GPU: predictions, never measurements.

Every operator takes the longer of its arithmetic at an assumed part of the card's peak and its
memory traffic at an assumed part of the card's bandwidth (Williams, Waterman and Patterson,
"Roofline", 2009). docs/gpu-performance.md discusses the assumptions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # mbert.export needs more than a machine that only runs bench/gpu has
    from mbert.export.targets import Figures

# The published configuration class's defaults, which every published model keeps.
GLOBAL_EVERY = 3
WINDOW = 64
VOCAB_SIZE = 50_368

ELEMENT_SIZES = {"fp32": 4, "fp16": 2, "bf16": 2}

# The tiles of plugins/cuda/varlen_attention_tiling.h: queries of a block, bytes of a tile of keys.
TILE_QUERIES = 64
TILE_KEYS = 64
TILE_BYTES = 8192

PROJECTION, ATTENTION, ELEMENTWISE = "projection", "attention", "elementwise"


@dataclass(frozen=True)
class Shape:
    """What the cost depends on; ``windows`` has an entry for each layer, -1: global."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    windows: tuple[int, ...]

    @property
    def head_dim(self) -> int:
        """Channels per attention head."""
        return self.hidden_size // self.num_attention_heads

    @classmethod
    def of_config(cls, config: Mapping[str, int]) -> Shape:
        """Take an entry of :data:`mbert.bench.random_checkpoint.SHAPES`."""
        return cls(
            VOCAB_SIZE,
            config["hidden_size"],
            config["intermediate_size"],
            config["num_attention_heads"],
            tuple(WINDOW if i % GLOBAL_EVERY else -1 for i in range(config["num_hidden_layers"])),
        )

    @classmethod
    def of_manifest(cls, model: Mapping[str, Any]) -> Shape:
        """Take the field ``model`` of a bundle's manifest."""
        return cls(
            model["vocab_size"],
            model["hidden_size"],
            model["intermediate_size"],
            model["num_attention_heads"],
            tuple(layer["window"] for layer in model["layers"]),
        )


@dataclass(frozen=True)
class Assumptions:
    """What the model takes for granted; none of these numbers was measured.

    Attributes:
        projection: part of the peak arithmetic that a projection reaches.
        attention: the same of the attention kernel, its softmax included.
        bandwidth: part of the card's memory bandwidth that any kernel reaches.
        kernel_seconds: what starting and draining adds to each kernel of a CUDA graph.
        launch_seconds: the host's time for each launch where there is no CUDA graph.
    """

    projection: float = 0.7
    attention: float = 0.4
    bandwidth: float = 0.8
    kernel_seconds: float = 1.5e-6
    launch_seconds: float = 5e-6

    def in_words(self) -> tuple[str, ...]:
        """Every assumption, a line each."""
        return (
            f"projections reach {self.projection:.0%} of the peak, the attention kernel "
            f"{self.attention:.0%}, every kernel {self.bandwidth:.0%} of the memory bandwidth",
            f"each kernel adds {self.kernel_seconds * 1e6:g} us within a CUDA graph; without "
            f"one the host takes {self.launch_seconds * 1e6:g} us to launch it, as the card works",
            "all sequences lie in one packed batch; attention computes whole tiles of "
            f"{TILE_QUERIES} queries; keys of global layers are rotated by a kernel of their own",
            "residual sum and norm are one kernel; every array is read from and written to memory "
            "once by each kernel; nothing stays in the L2 cache",
            "multiprocessors that idle at the end of a kernel, clocks below boost, transfers to "
            "and from the host, pooling and the task's head are left out",
        )


@dataclass(frozen=True)
class Operator:
    """One kernel: ``flop`` operations (a multiply-add is two) and ``bytes`` of memory traffic."""

    name: str
    kind: str
    flop: float
    bytes: float


@dataclass(frozen=True)
class Cost:
    """What an operator should take.

    ``bound`` is what it spends most of that on: "compute", "memory", or the "launch" of a kernel
    that does next to nothing.
    """

    operator: Operator
    seconds: float
    bound: str


def tile_keys(head_dim: int, element_size: int) -> int:
    """Keys of one tile of the attention kernel."""
    return min(TILE_KEYS, TILE_BYTES // (head_dim * element_size))


def attended_pairs(lengths: Sequence[int], window: int) -> int:
    """Count the pairs of a query and a key that attend: those with abs(i - j) <= window."""
    pairs = 0
    for length in lengths:
        w = length - 1 if window < 0 else min(window, length - 1)
        # At both ends of a sequence a query lacks up to w keys.
        pairs += length * (2 * w + 1) - w * (w + 1) if length else 0
    return pairs


def computed_pairs(lengths: Sequence[int], window: int, keys: int) -> int:
    """Count the pairs that the kernel computes: all those of each tile that it visits.

    Args:
        lengths: tokens of each sequence.
        window: as in VarlenAttention.
        keys: keys of a tile.
    """
    tiles = 0
    for length in lengths:
        reach = length if window < 0 else window
        for first in range(0, length, TILE_QUERIES):
            begin = max(0, first - reach) // keys * keys
            end = min(length, first + TILE_QUERIES + reach)
            tiles += -(-(end - begin) // keys)
    return tiles * TILE_QUERIES * keys


def embedding_operators(shape: Shape, tokens: int, element_size: int) -> list[Operator]:
    """The embedding with its norm: a row of the table and an id in, a row out."""
    row = shape.hidden_size * element_size
    return [Operator("embedding", ELEMENTWISE, 0, tokens * (2 * row + 4))]


def layer_operators(
    shape: Shape, layer: int, lengths: Sequence[int], element_size: int
) -> list[Operator]:
    """The kernels of one layer, in their order.

    Args:
        shape: the encoder.
        layer: index of the layer; the first has no attention norm.
        lengths: tokens of each packed sequence.
        element_size: bytes of an activation and of a weight.
    """
    tokens, hidden = sum(lengths), shape.hidden_size
    width, window = shape.intermediate_size, shape.windows[layer]
    activations = tokens * hidden * element_size

    def projection(name: str, columns_in: int, columns_out: int) -> Operator:
        weights = columns_in * columns_out
        elements = tokens * (columns_in + columns_out) + weights
        return Operator(name, PROJECTION, 2 * tokens * weights, elements * element_size)

    # Residual and update in; their sum and its norm out.
    norm = Operator("add + norm", ELEMENTWISE, 0, 4 * activations)
    pairs = computed_pairs(lengths, window, tile_keys(shape.head_dim, element_size))
    return [
        *([norm] if layer else []),
        projection("Wqkv", hidden, 3 * hidden),
        *([Operator("rotate keys", ELEMENTWISE, 0, 2 * activations)] if window < 0 else []),
        Operator(
            "attention, global" if window < 0 else f"attention, window {window}",
            ATTENTION,
            4 * pairs * hidden,  # two products of head_dim, for every head
            4 * activations,
        ),
        projection("Wo", hidden, hidden),
        norm,
        projection("Wi", hidden, 2 * width),
        Operator("GeGLU", ELEMENTWISE, 0, 3 * tokens * width * element_size),
        projection("MLP Wo", width, hidden),
    ]


def final_operators(shape: Shape, tokens: int, element_size: int) -> list[Operator]:
    """The last residual sum and the final norm."""
    bytes_moved = 3 * tokens * shape.hidden_size * element_size
    return [Operator("add + final norm", ELEMENTWISE, 0, bytes_moved)]


def forward_flop(shape: Shape, lengths: Sequence[int]) -> float:
    """Count the operations that a forward pass of the encoder cannot do without.

    2 for each multiply-add of the linear layers, on real tokens, and of the two products of
    attention, on the pairs that attend: ``sum over layers of 2 T H (3H + H + 2I + I) + 4 P H``,
    with T tokens, hidden size H, intermediate size I and P pairs. Norms, softmax, activations,
    rotation and the task's head are left out.
    """
    flop = 0.0
    for layer, window in enumerate(shape.windows):
        operators = layer_operators(shape, layer, lengths, ELEMENT_SIZES["fp32"])
        flop += sum(operator.flop for operator in operators if operator.kind == PROJECTION)
        flop += 4 * attended_pairs(lengths, window) * shape.hidden_size
    return flop


def cost(operator: Operator, card: Figures, precision: str, assumptions: Assumptions) -> Cost:
    """Predict the time of one operator within a CUDA graph.

    Args:
        operator: what it computes and moves.
        card: peak arithmetic and bandwidth of the GPU.
        precision: fp16 and bf16 run on tensor cores, fp32 does not.
        assumptions: the parts of the peaks that are reached.
    """
    reached = {PROJECTION: assumptions.projection, ATTENTION: assumptions.attention}
    peak = 1e12 * (card.single_tflops if precision == "fp32" else card.half_tflops)
    compute = operator.flop / (peak * reached.get(operator.kind, 1.0))
    memory = operator.bytes / (1e9 * card.bandwidth_gbs * assumptions.bandwidth)
    work, bound = max((compute, "compute"), (memory, "memory"))
    if work < assumptions.kernel_seconds:
        bound = "launch"
    return Cost(operator, work + assumptions.kernel_seconds, bound)
