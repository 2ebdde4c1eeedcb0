"""The commands of the model store, declared: what they take, what they teach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from appliance.cli.declaring import command, divergence, grace, limit, store_connection, words

_NAME: Final = "[HOST/][NAMESPACE/]MODEL[:TAG]; the tag is 'latest' unless it is given"
_RESUMES: Final = "Ctrl-C, a kill or a power cut loses nothing: the next try goes on from what has come."


def _pull(commands: Any) -> None:
    parser = command(
        commands,
        "pull",
        "bring a model in from a registry, a hub or a URL",
        usage="outpost pull NAME [--as NAME] [options]",
        more="Only hosts that the configuration names under [store.hosts] are ever called. Parts that are "
        "here already are not fetched again, every byte is checked while it comes, and the name appears when "
        f"the model has proved to load. {_RESUMES}",
        examples=(
            "outpost pull registry.example/library/smollm2:135m",
            "outpost pull hf.co/bartowski/SmolLM2-135M-Instruct-GGUF:Q4_K_M --as smollm2",
            "outpost pull outpost-1.local:11434/library/smollm2   # another Outpost is a registry too",
        ),
    )
    parser.add_argument("name", metavar="NAME", help=_NAME)
    parser.add_argument("--as", dest="as_name", metavar="NAME", help="keep it under this name")
    store_connection(parser)


def _push(commands: Any) -> None:
    parser = command(
        commands,
        "push",
        "send a model to a registry",
        usage="outpost push NAME [TARGET] [options]",
        more="What the registry has already is not sent again. Without TARGET it goes where its own name "
        "says.",
        examples=(
            "outpost push registry.example/team/assistant:v2",
            "outpost push assistant registry.example/team/assistant:v2",
        ),
    )
    parser.add_argument("name", metavar="NAME", help="a model of `outpost list`")
    parser.add_argument("target", nargs="?", metavar="TARGET", help=f"where to: {_NAME}")
    store_connection(parser)


def _import(commands: Any) -> None:
    parser = command(
        commands,
        "import",
        "take a model from a file, a directory or a tar",
        usage="outpost import FILE|DIR|TAR [NAME] [--as NAME] [--link] [options]",
        more="FILE is a GGUF (of a split one, the first part). DIR and TAR hold an OCI image layout, as "
        "`outpost export`, skopeo and oras write it; of several models all come, or the one that NAME says. "
        "DIR may be a store of Ollama too: of several models NAME says which, and without it they are "
        f"listed. Nothing is written there. {_RESUMES}",
        examples=(
            "outpost import SmolLM2-135M-Instruct-Q4_1.gguf smollm2",
            "outpost import /media/stick/models",
            "outpost import smollm2.tar",
            "outpost import ~/.ollama/models llama3.2:1b --as small",
        ),
    )
    parser.add_argument("path", type=Path, metavar="FILE|DIR|TAR", help="what to take")
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="of a FILE its name (default: as the file says); of a DIR or TAR the model that is meant",
    )
    parser.add_argument("--as", dest="as_name", metavar="NAME", help="keep it under this name")
    parser.add_argument(
        "--link",
        action="store_true",
        help="share the bytes of FILE on the same disk; it becomes read-only and must not be changed",
    )
    store_connection(parser)


def _export(commands: Any) -> None:
    parser = command(
        commands,
        "export",
        "write a model to a directory or a tar, to carry it away",
        usage="outpost export NAME DIR|FILE.tar [options]",
        more="Both are OCI image layouts: `outpost import`, skopeo and oras read them. A directory may hold "
        "several models; what they share is there once.",
        examples=("outpost export smollm2 /media/stick/models", "outpost export smollm2 smollm2.tar"),
    )
    parser.add_argument("name", metavar="NAME", help="a model of `outpost list`")
    parser.add_argument("path", type=Path, metavar="DIR|FILE.tar", help="where to")
    store_connection(parser)


def _create(commands: Any) -> None:
    parser = command(
        commands,
        "create",
        "make a model from a Modelfile",
        usage="outpost create NAME [-f FILE] [-q TYPE] [options]",
        more="The Modelfile names a base (FROM) and what is different: PARAMETER, SYSTEM, TEMPLATE, ADAPTER, "
        "MESSAGE, LICENSE. Only what is new takes room. Paths in it are relative to the Modelfile.",
        examples=(
            "outpost create assistant -f Modelfile",
            "printf 'FROM smollm2\\nSYSTEM Answer in French.\\n' | outpost create french -f -",
            "outpost create small -f Modelfile -q q4_K_M",
        ),
    )
    parser.add_argument("name", metavar="NAME", help=_NAME)
    parser.add_argument(
        "-f",
        "--file",
        type=Path,
        default=Path("Modelfile"),
        metavar="FILE",
        help="default: Modelfile; -: stdin",
    )
    parser.add_argument(
        "-q", "--quantize", metavar="TYPE", help="quantise the weights, as in q4_K_M; from F16, BF16 or F32"
    )
    store_connection(parser)


def _show(commands: Any) -> None:
    parser = command(
        commands,
        "show",
        "tell what is known of a model",
        usage="outpost show NAME [--modelfile | --parameters | ... ] [options]",
        examples=(
            "outpost show smollm2",
            "outpost show smollm2 --modelfile > Modelfile",
            "outpost show smollm2 --json | jq .capabilities",
        ),
    )
    parser.add_argument("name", metavar="NAME", help="a model of `outpost list`")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--license", action="store_true", help="only its licences")
    one.add_argument("--metadata", action="store_true", help="only the metadata of the GGUF")
    one.add_argument("--modelfile", action="store_true", help="only a Modelfile that makes it anew")
    one.add_argument("--parameters", action="store_true", help="only its parameters")
    one.add_argument("--system", action="store_true", help="only its system message")
    one.add_argument("--template", action="store_true", help="only its chat template")
    one.add_argument("--tensors", action="store_true", help="only the tensors of the GGUF")
    parser.add_argument("-v", "--verbose", action="store_true", help="with metadata and tensors")
    store_connection(parser)


def _list(commands: Any) -> None:
    parser = command(
        commands,
        "list",
        "list the models in the store",
        usage="outpost list [PREFIX] [options]",
        more="SIZE is all of a model; UNIQUE is what its removal would free, as models share their parts. "
        "`outpost ls` is the same.",
        examples=("outpost list", "outpost list smol", "outpost list --json | jq -r '.models[].name'"),
    )
    parser.add_argument("prefix", nargs="?", default="", metavar="PREFIX", help="only names that begin so")
    store_connection(parser)


def _optimize(commands: Any) -> None:
    parser = command(
        commands,
        "optimize",
        "serve a model in a type of weights that is faster on this chip",
        usage="outpost optimize NAME [--kl X] [--candidates TYPE,...] [--dry-run] [options]",
        more="Processors multiply some types of weights several rows at a time and others one by one. This "
        "makes the model's weights in the types that are fast here, measures how far their next-token "
        "distributions are from the original's on a bundled text, and their speed on this board in turn with "
        "its own. One is kept only if it is faster, fits, and loses less than --kl; then it is served under "
        "the same name. The original stays: it is what push and export have, and --undo goes back to it.\n\n"
        "It takes a minute or two with a small model. Speed is measured while nobody waits for an answer: it "
        "stands still as soon as a request comes. Ctrl-C leaves everything as it was.",
        examples=(
            "outpost optimize smollm2",
            "outpost optimize smollm2 --dry-run --json | tail -1 | jq .optimization.tried",
            "outpost optimize smollm2 --candidates q8_0,q4_0 --kl 0.05",
            "outpost optimize smollm2 --undo",
        ),
    )
    parser.add_argument("name", metavar="NAME", help="a model of `outpost list`")
    parser.add_argument(
        "--kl",
        type=divergence,
        metavar="X",
        help="most that may be lost: mean KL divergence in nats (default: [optimize] max_kl, 0.01)",
    )
    parser.add_argument(
        "--candidates",
        type=words,
        default=(),
        metavar="TYPE,...",
        help="types of weights to try, as in q8_0,q4_0 (default: those that are fast on this chip)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only measure: nothing is kept")
    parser.add_argument("--undo", action="store_true", help="serve the original again")
    store_connection(parser)


def _calibrate(commands: Any) -> None:
    parser = command(
        commands,
        "calibrate",
        "measure how a model is best served on this board",
        usage="outpost calibrate NAME [--limit S] [--power-modes] [--dry-run | --show | --forget] [options]",
        more="Measures threads, ubatch, flash attention, layouts of weights, the price of a q8_0 KV cache "
        "and the way of loading, each against the default in turn, in under a minute. What is at least 5 % "
        "faster, beyond noise, is how the model is served from then on, unless the configuration or the "
        "model says otherwise; the planner weighs its concessions with the prices that were measured. It "
        "holds for this board and this build; on another it is not used.\n\n"
        "It is measured while nobody waits for an answer: it stands still as soon as a request comes. Ctrl-C "
        "leaves everything as it was.",
        examples=(
            "outpost calibrate smollm2",
            "outpost calibrate smollm2 --dry-run",
            "outpost calibrate smollm2 --show --json | tail -1 | jq .calibration.findings.choice",
            "outpost calibrate smollm2 --forget",
        ),
    )
    parser.add_argument("name", metavar="NAME", help="a model of `outpost list`")
    parser.add_argument(
        "--limit",
        type=limit,
        metavar="S",
        help="seconds it may take, waits not counted (default: [calibration] limit_s, 60)",
    )
    parser.add_argument(
        "--power-modes",
        action="store_true",
        help="of a Jetson: measure each of its power modes, too; the one that is set is set again "
        "afterwards, also after a crash",
    )
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be measured")
    parser.add_argument("--show", action="store_true", help="only show what is stored")
    parser.add_argument("--forget", action="store_true", help="serve it by the defaults again")
    store_connection(parser)


def _cp(commands: Any) -> None:
    parser = command(
        commands,
        "cp",
        "give a model a second name",
        usage="outpost cp SOURCE DESTINATION [options]",
        more="It costs no room: both names share every byte.",
        examples=("outpost cp smollm2 assistant", "outpost cp smollm2 registry.example/team/smollm2:v1"),
    )
    parser.add_argument("source", metavar="SOURCE", help="a model of `outpost list`")
    parser.add_argument("destination", metavar="DESTINATION", help=_NAME)
    store_connection(parser)


def _rm(commands: Any) -> None:
    parser = command(
        commands,
        "rm",
        "remove models",
        usage="outpost rm NAME... [options]",
        more="Names go at once; their bytes follow, unless another model shares them: the daemon collects "
        "them by itself soon after, and where none runs `outpost gc` does.",
        examples=("outpost rm assistant", "outpost rm smollm2:135m smollm2:360m"),
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="a model of `outpost list`")
    store_connection(parser)


def _verify(commands: Any) -> None:
    parser = command(
        commands,
        "verify",
        "check that stored models are what they were",
        usage="outpost verify [NAME] [--layout DIR|TAR] [--rebuild-index] [options]",
        more="Reads every byte and compares it with its digest. What is broken goes into quarantine with its "
        "reason and is never served; pull or import it again to repair it. Ends with 65 when anything is. "
        "With --layout an OCI layout of others, a stick or a tar, is read where it lies, by this command "
        "alone: nothing is imported, nothing written.",
        examples=(
            "outpost verify",
            "outpost verify smollm2",
            "outpost verify --layout /media/stick/models",
            "outpost verify --layout smollm2.tar --json",
            "outpost verify --rebuild-index",
        ),
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="only this model")
    parser.add_argument("--layout", type=Path, metavar="DIR|TAR", help="check this OCI layout, not the store")
    parser.add_argument(
        "--rebuild-index",
        action="store_true",
        help="first build a damaged index.json again: the names before its last change, all other models as "
        "recovered-…",
    )
    store_connection(parser)


def _gc(commands: Any) -> None:
    parser = command(
        commands,
        "gc",
        "free what no model needs any more",
        usage="outpost gc [--dry-run] [--grace S] [--arrivals] [options]",
        more="What is in use or arriving is never touched, and what came lately stays for a time, since its "
        "name may still be on its way. The daemon does the same by itself from time to time. While the "
        "manifest of a name cannot be read, what it needs is not known and no blob goes: the name is told, "
        "and it ends with 65.",
        examples=("outpost gc --dry-run", "outpost gc", "outpost gc --grace 0", "outpost gc --arrivals"),
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    parser.add_argument(
        "--grace",
        type=grace,
        metavar="S",
        help="leave what came less than S seconds ago (default: 3600, the most; 0: nothing is too young)",
    )
    parser.add_argument(
        "--arrivals",
        action="store_true",
        help="also free what pulls that were cut off hold (else: after a week); they begin anew then",
    )
    store_connection(parser)


DECLARED: Final[dict[str, Callable[[Any], None]]] = {
    "pull": _pull,
    "push": _push,
    "create": _create,
    "import": _import,
    "export": _export,
    "show": _show,
    "list": _list,
    "optimize": _optimize,
    "calibrate": _calibrate,
    "cp": _cp,
    "rm": _rm,
    "verify": _verify,
    "gc": _gc,
}
"""In the order of the help."""
