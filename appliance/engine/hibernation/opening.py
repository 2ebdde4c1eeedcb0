"""Opens the hibernation of a model: the files of its directory, the two threads, the fingerprint.

The state of a slot means something only to the same model in the same build, context and cache types: all of
that is in the fingerprint. So is the number of slots, where the state cannot be told apart from it.
"""

from __future__ import annotations

from appliance.engine.hibernation.hibernator import Hibernator, Surroundings
from appliance.engine.hibernation.porter import Porter
from appliance.engine.hibernation.shelf import Shelf
from appliance.engine.hibernation.snapshot import Sealer, fingerprint_of
from appliance.engine.hibernation.waking import Sleep
from appliance.engine.hibernation.worker import Worker
from appliance.engine.llama.context import LlamaContext
from appliance.engine.llama.kernels import kernels
from appliance.engine.llama.library import build_digest, build_version, system_info
from appliance.engine.llama.model import LlamaModel
from appliance.hardware import meminfo
from appliance.wire.messages import Hibernation, Load


def open_hibernation(load: Load, context: LlamaContext, model: LlamaModel) -> Sleep | None:
    """None: it is not wanted. Starts two threads."""
    rules = load.hibernation
    if rules is None or not load.settings.prefix_reuse:
        return None
    can_be_cut = not model.n_swa and not model.keeps_state
    n_streams = context.n_slots if can_be_cut else 0
    fingerprint = _fingerprint(load, rules, context, model, n_slots=0 if can_be_cut else context.n_slots)
    sealer = Sealer(rules.key)
    shelf = Shelf(
        rules.directory,
        sealer=sealer,
        fingerprint=fingerprint,
        floor_bytes=rules.floor_bytes,
        most_tokens=context.n_ctx_seq,
    )
    writer, reader = Worker("snapshot-writer"), Worker("snapshot-reader")
    porter = Porter(shelf, writer=writer, reader=reader, n_streams=n_streams)
    around = Surroundings(
        backend=context,
        porter=porter,
        sealer=sealer,
        fingerprint=fingerprint,
        n_streams=n_streams,
        whole=not can_be_cut,
        available_bytes=lambda: meminfo.read().available_bytes,
    )
    return Sleep(hibernator=Hibernator(around, rules), min_tokens=rules.min_tokens)


def _fingerprint(
    load: Load, rules: Hibernation, context: LlamaContext, model: LlamaModel, *, n_slots: int
) -> bytes:
    placement = load.placement
    return fingerprint_of(
        {
            "identity": rules.identity,
            "n_ctx_seq": context.n_ctx_seq,
            "n_slots": n_slots,
            "type_k": placement.type_k,
            "type_v": placement.type_v,
            "n_gpu_layers": placement.n_gpu_layers,
            "llama_cpp": f"{build_version()} {build_digest()} {system_info()}",
            "kernels": f"{model.kernels} {kernels.digest if load.settings.own_kernels else ''}",
        }
    )
