"""The table of GPUs: the data-sheet figures that predictions and measurements use.

A GB is 10^9 bytes, a GiB 2^30. Peaks are those of dense matrices. Sources: NVIDIA's data sheets "H100 Tensor Core GPU"
and "H200 Tensor Core GPU", form factor SXM, unless another is named.
"""

from dataclasses import dataclass, replace

GIB = 2**30
NETWORK_CARD = 50e9
"""Bytes per second and direction of a 400 Gbit/s network card; a DGX H100 has one for each GPU."""
WATTS_WITH_NODE = 1000.0
"""Watts of a GPU in training, including its share of the node and of cooling: an assumption, between the 700 W of an
H100 SXM and the 1,275 W of an eighth of a DGX H100's 10.2 kW."""


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU, by its data sheet.

    Attributes:
        name: name of the chip, as in names of machines.
        bf16: peak operations per second in BF16. The data sheet gives 1,978.9 TFLOP/s with sparsity, half without.
        fp8: the same in FP8: the data sheet's 3,957.8 TFLOP/s, halved.
        memory: memory in bytes.
        usable_gib: GiB that PyTorch can use of it.
        bandwidth: bytes per second of the memory.
        nvlink: bytes per second and direction of all NVLink links together.
        watts: power limit.
        node: GPUs of a node, as NVIDIA builds it (DGX, HGX).
    """

    name: str
    bf16: float
    fp8: float
    memory: float
    usable_gib: float
    bandwidth: float
    nvlink: float
    watts: float
    node: int

    @property
    def peaks(self) -> dict[str, float]:
        """Precision of the matrix products -> peak operations per second."""
        return {"bf16": self.bf16, "fp8": self.fp8}


H100 = Gpu(
    name="H100",
    bf16=989.4e12,
    fp8=1978.9e12,
    memory=80e9,
    # nvidia-smi lists 81,559 MiB (79.65 GiB), of which the driver keeps about 0.5 GiB: PyTorch's out-of-memory messages
    # name 79.10 to 79.19 GiB, depending on the driver.
    usable_gib=79.1,
    bandwidth=3.35e12,
    nvlink=18 * 25e9,
    watts=700,
    node=8,
)
H200 = replace(H100, name="H200", memory=141e9, usable_gib=139.8, bandwidth=4.8e12)
"""An H100's chip with more and faster memory; PyTorch's out-of-memory messages name 139.72 to 139.81 GiB."""
GPUS = {gpu.name: gpu for gpu in (H100, H200)}
