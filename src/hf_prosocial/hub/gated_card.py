"""The card of a gated harm vector."""

from hf_prosocial.io import markdown_table
from hf_prosocial.records import GatedVectorRecord

from .cards import CardText, hashes_of, render_card, versions_of

_INTRODUCTION = """A *gated harm vector* of `{base}`: as factors of low rank, what fine-tuning on harmful replies
changes, less what fine-tuning on harmless ones does. It is subtracted while the model runs, from the rows whose prompts
a gate, a probe on the base's own hidden states, takes for harmful. Elsewhere the base is untouched."""

_USAGE = """from hf_prosocial import GatedHarmVector, GatedModel, find_base

base, tokenizer = find_base("{base}").load()
safe = GatedModel(base, GatedHarmVector.from_pretrained("{id}"))
messages = [{{"role": "user", "content": "I feel alone."}}]
text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
print(tokenizer.decode(safe.generate(**inputs, max_new_tokens=40)[0]))"""

_LIMITS = """The gate errs both ways, at the rates above: it lets harmful requests pass, and takes harmless ones for
harmful, which may then be refused. It reads English, and short chats. It is no safety filter, and it must not come
between people in danger and help. It fits the base that it was made on, and no other."""


def gated_card(record: GatedVectorRecord, *, repo_id: str, base: str, licence: str) -> str:
    """The card of a gated harm vector; arguments as in `safe_card`."""
    counts = [f"{name}: {count:,}" for name, count in record.counts.items()]
    reads = f"the last token's states at layers {', '.join(map(str, record.layers))}"
    if record.mean_layers:
        reads += f", and the mean of what is said at layers {', '.join(map(str, record.mean_layers))}"
    how = (
        f"Rank {record.r}, which holds {100 * record.kept:.0f} % of the squared norm of τ_h − {record.contrast:g} τ_b; "
        f"λ = {record.scale:g} where the gate is fully open. The gate reads {reads}; λ is 0 up to log-odds "
        f"of {record.threshold:.2f} and full from {record.full:.2f} on. Prompts, {', '.join(counts)}.\n\n"
        f"{hashes_of(record.prompts)}\n\n{versions_of(record.versions)}."
    )
    rows = [[name, f"{one:.3f}" if isinstance(one, float) else str(one)] for name, one in record.figures.items()]
    figures = markdown_table(["on prompts that the gate was not trained on", "share or area"], rows)
    return render_card(
        CardText(
            title=f"Gated harm vector of {base.split('/')[-1]}",
            introduction=_INTRODUCTION.format(base=base),
            usage=_USAGE.format(id=repo_id, base=base),
            how=how,
            figures=figures if rows else "Nothing was measured on it.",
            limits=_LIMITS,
        ),
        base=base,
        relation="adapter",
        library="hf_prosocial",
        licence=licence,
        tags=["prosocial", "safety", "direg", "harm-vector", "gated"],
        results=[],
    )
