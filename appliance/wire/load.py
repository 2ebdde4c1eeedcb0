"""A model on its way into a runner: where it goes, what it turned out to be."""

from __future__ import annotations

from appliance.wire.base import FromRunner, Struct, ToRunner, WireError


class Placement(Struct):
    """Where and how large. llama.cpp's own names, because they go straight into its structs."""

    n_ctx_seq: int
    """Tokens one sequence may hold, prompt and answer together."""
    n_seq_max: int
    """Sequences that may run at once."""
    kv_cells: int
    """Tokens the KV cache holds over all sequences (shared prefixes count once)."""
    n_ubatch: int = 512
    n_gpu_layers: int = 0
    type_k: str = "f16"
    type_v: str = "f16"
    n_threads: int = 0
    """Compute threads; 0: chosen from the board's big cores."""
    use_mmap: bool = True
    """Map the file if all weights can stay in it; what is copied is never mapped. False: never."""
    projector_on_cpu: bool = False
    """Where a projector is computed. Without effect until runners load one."""
    flash_attention: str = "auto"
    """auto | on | off. A quantised cache of values needs it, whatever is said here."""
    repack: bool = True
    """Lay weights out for fast kernels where there are such. False: as they are in the file."""
    pooling: str | None = None
    """none | mean | cls | last | rank; None: as the GGUF says. A model that pools serves embeddings and no
    text.
    """


class Adapter(Struct):
    name: str
    path: str


class EngineSettings(Struct):
    """Bounds of the engine loop that do not depend on the board."""

    step_bound_s: float = 0.25
    """A step is planned to stay under this, so that cancel, fairness and heartbeat act between steps."""
    heartbeat_s: float = 1.0
    speculation: bool = True
    prefix_reuse: bool = True
    adapt_threads: bool = True
    own_kernels: bool = True
    """Multiply with our kernels what llama.cpp has no fast layout for."""


class Hibernation(Struct):
    """Where a runner keeps KV state on disk, and the bounds."""

    directory: str
    """Of this model alone; the one place where its runner may write."""
    key: bytes
    """Seals its snapshots. Derived from the device's, so that no other model's are forged by it."""
    identity: str
    """Of the model's and its adapters' files."""
    limit_bytes: int
    """Of all snapshots in the directory, and of each."""
    floor_bytes: int
    """Stay free on the disk."""
    min_tokens: int
    write_bytes_per_min: int
    stop_s: float
    """From the end of the last step to the end of the process."""

    def __repr__(self) -> str:
        return f"Hibernation({self.directory!r})"


class Load(ToRunner):
    protocol: int
    model: str
    """The name shown in logs and errors."""
    path: str
    """The GGUF; the first part of a split one."""
    placement: Placement
    settings: EngineSettings = EngineSettings()
    draft_path: str | None = None
    """GGUF of a draft model with the same vocabulary."""
    adapters: list[Adapter] = []
    paths: list[str] = []
    """All parts of a split GGUF, in order; empty: `path` is the whole model. Their names say nothing."""
    chat_template: str | None = None
    """A Jinja source that replaces the GGUF's."""
    hibernation: Hibernation | None = None
    """None: nothing goes to disk."""
    requires_gpu: bool = False
    """Rather fail than run on the CPU."""


class Loading(FromRunner):
    progress: float
    """0 to 1."""


class Sandbox(Struct):
    """How far the runner is boxed in, as reached, not as wished (`runner/sandbox.py`)."""

    level: str
    """full | partial | none"""
    no_new_privs: bool
    non_dumpable: bool
    rlimits: bool
    landlock_abi: int
    """0: the kernel has none."""
    seccomp: bool
    missing: list[str] = []


class ModelFacts(Struct):
    n_ctx_train: int
    n_ctx_seq: int
    n_seq_max: int
    n_vocab: int
    n_embd: int
    n_params: int
    size_bytes: int
    description: str
    has_chat_template: bool
    chat_template_error: str | None = None
    """Why the GGUF's template was refused at load; chat requests then fail with it."""
    tool_format: str | None = None
    """hermes | llama3 | mistral | json, from the template."""
    pooling: str = "none"
    """none | mean | cls | last | rank"""
    generates: bool = True
    device: str = "cpu"
    """Where its weights are, as loaded and not as wished: `cpu`, or the GPU's name (`CUDA0`)."""
    n_gpu_layers: int = 0
    """Layers on that GPU."""
    n_layers: int = 0
    """That could be, the output's among them; 0: not told."""
    type_k: str = "f16"
    type_v: str = "f16"
    backend: str = ""
    """llama.cpp's own system info line."""
    kernels: str = ""
    """Our kernels, where weights are laid out for them; empty: llama.cpp computes alone."""
    kernels_missing: str | None = None
    """Why this machine has none."""
    hibernates: bool = False
    hibernation_missing: str | None = None
    """Why not, though the daemon wanted it to."""


class Ready(FromRunner):
    facts: ModelFacts
    sandbox: Sandbox
    load_s: float
    measured_bytes: int
    """RSS after load and warm-up."""


class LoadFailed(FromRunner):
    error: WireError
